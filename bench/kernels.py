"""Kernels beside JAX's own, in cycles of TPU chips by the compiler's schedule; needs no TPU.

  python bench/kernels.py [--quick] [--chips v5e,v5p,v6e]

Attention, forward and backward, bfloat16: the 7b's decoder (28 query and 4 kv heads of 128, causal)
over 2,048 and over 8,192 tokens, against jax.experimental's splash attention: forward, dkv and dq,
or its fused backward, whichever is faster, each at the best of the blocks that were tried. Of both
the kernels count alone; what XLA does around them does not, which is in splash's favour where it is
fused: the parts of dq are then summed outside.
"""

import json
import sys
from pathlib import Path

import apart

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

HEADS, KV_HEADS, SIZE = 28, 4, 128
OURS = (256, 512, 1024)
SPLASH = ((512, 512), (1024, 512), (1024, 1024))  # (block of memory, block of computing)


def _blocks(tokens, block):
  """(blocks, pairs of a block of queries and one of keys that see one another)."""
  n = tokens // block
  return n, n * (n + 1) // 2


def flash(tokens, block):
  """See cot_rm.kernels.schedule."""
  import jax
  import jax.numpy as jnp

  from cot_rm.kernels import flash_attention
  from cot_rm.kernels.schedule import Work

  flash_attention.BLOCK = block
  shape = lambda n: jax.ShapeDtypeStruct((1, tokens, n, SIZE), jnp.bfloat16)
  total = lambda *qkv: flash_attention.flash_attention(*qkv)[0].astype(jnp.float32).sum()
  n, pairs = _blocks(tokens, block)
  steps, whole, edge = HEADS * n, HEADS * (pairs - n), HEADS * n
  product = HEADS * tokens**2 * SIZE  # half of the products of two matrices
  q, kv = 2 * HEADS * tokens * SIZE, 2 * KV_HEADS * tokens * SIZE  # bytes
  works = {
    "flash_forward": Work(2 * product, 2 * q + 2 * kv, steps, (0, whole, edge)),
    "flash_backward": Work(
      5 * product,
      3 * q + (2 * HEADS // KV_HEADS + 2) * kv,
      steps,
      (HEADS, KV_HEADS * n, edge, whole, 0, HEADS, KV_HEADS * n),
    ),
  }
  return jax.grad(total, (0, 1, 2)), (shape(HEADS), shape(KV_HEADS), shape(KV_HEADS)), works


def splash(tokens, block, compute, fused):
  import jax
  import jax.numpy as jnp
  from jax.experimental.pallas.ops.tpu import splash_attention as theirs

  from cot_rm.kernels.schedule import Work

  sizes = theirs.BlockSizes(
    block_q=block,
    block_kv=block,
    block_kv_compute=compute,
    block_q_dkv=block,
    block_kv_dkv=block,
    block_kv_dkv_compute=compute,
    block_q_dq=None if fused else block,
    block_kv_dq=None if fused else block,
    use_fused_bwd_kernel=fused,
  )
  group = HEADS // KV_HEADS
  mask = theirs.MultiHeadMask([theirs.CausalMask((tokens, tokens))] * group)
  kernel = theirs.make_splash_mqa_single_device(mask, block_sizes=sizes)
  total = lambda *qkv: jax.vmap(kernel)(*qkv).astype(jnp.float32).sum()
  shape = lambda *n: jax.ShapeDtypeStruct((KV_HEADS, *n, tokens, SIZE), jnp.bfloat16)
  n, pairs = _blocks(tokens, block)
  row, seen, steps = HEADS * n, HEADS * pairs, HEADS * n * n
  product = HEADS * tokens**2 * SIZE
  works = {
    "splash_mqa_fwd_residuals": Work(2 * product, 1, steps, (row, seen, row)),
    "splash_mqa_dkv_no_residuals": Work(
      (5 if fused else 4) * product, 1, steps, (KV_HEADS * n, seen, KV_HEADS * n)
    ),
  }
  if not fused:
    works["splash_mqa_dq_no_residuals"] = Work(3 * product, 1, steps, (row, seen, row))
  return jax.grad(total, (0, 1, 2)), (shape(group), shape(), shape()), works


def attention(chip, tokens, quick):
  """{"ours", "splash": (cycles, {kernel: (cycles, fraction of the bound, blocks)})}."""
  from cot_rm.kernels import schedule

  found = {"ours": {}, "splash": {}}

  def look(who, target, blocks, **given):
    for name, r in schedule.measure(f"{__file__}:{target}", chip, tokens=tokens, **given).items():
      if r["cycles"] < found[who].get(name, (float("inf"),))[0]:
        found[who][name] = r["cycles"], r["fraction"], blocks

  for block in OURS[1:2] if quick else OURS:
    look("ours", "flash", str(block), block=block)
  fused = {}
  for block, compute in SPLASH[:1] if quick else SPLASH:
    blocks = f"{block}/{compute}"
    look("splash", "splash", blocks, block=block, compute=compute, fused=False)
    r = schedule.measure(
      f"{__file__}:splash", chip, tokens=tokens, block=block, compute=compute, fused=True
    )["splash_mqa_dkv_no_residuals"]
    if r["cycles"] < fused.get("cycles", float("inf")):
      fused = r | {"blocks": f"{blocks}, fused"}
  backward = [name for name in found["splash"] if "fwd" not in name]
  if fused["cycles"] < sum(found["splash"][name][0] for name in backward):
    for name in backward:
      del found["splash"][name]
    found["splash"]["splash_mqa_fused"] = fused["cycles"], fused["fraction"], fused["blocks"]
  return {who: (sum(r[0] for r in rows.values()), rows) for who, rows in found.items()}


def main():
  parser = apart.parser(__doc__, "v5e, 2,048 tokens, one size of blocks")
  parser.add_argument("--chips", default="v5e,v5p,v6e")
  args = parser.parse_args()
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  say(f"{'':<44}{'cycles':>14}{'of the bound':>14}  blocks")
  ratios = {}
  for chip in ["v5e"] if args.quick else args.chips.split(","):
    for tokens in (2048,) if args.quick else (2048, 8192):
      found = attention(chip, tokens, args.quick)
      for who, (cycles, rows) in found.items():
        say(f"{f'{chip}, {tokens:,} tokens, {who}':<44}{cycles:>14,}")
        for name, (part, fraction, blocks) in rows.items():
          say(f"  {name:<42}{part:>14,}{fraction:>14.3f}  {blocks}")
      ratios.setdefault(chip, {})[tokens] = round(found["ours"][0] / found["splash"][0], 3)
  say(json.dumps({"attention_vs_splash": ratios}))


if __name__ == "__main__":
  main()
