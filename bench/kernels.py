"""Kernels beside JAX's own, in cycles of TPU chips by the compiler's schedule; needs no TPU.

  python bench/kernels.py [--quick] [--chips v5e,v5p,v6e]

Attention, forward and backward, bfloat16: the 7b's decoder (28 query and 4 kv heads of 128, causal)
over 2,048 and over 8,192 tokens, against jax.experimental's splash attention: forward, dkv and dq,
or its fused backward, whichever is faster, each at the best of the blocks that were tried. Of both
the kernels count alone; what XLA does around them does not, which is in splash's favour where it is
fused: the parts of dq are then summed outside. And the vision tower's (16 heads of 80, 2,048
patches, in windows of 64 and all): splash attention gets heads padded to 128, as it asks, knows the
windows beforehand, and has its fused backward.

Decoding's attention of a token: its cycles beside those that the copies of keys and values take.

The loss of GRPO at 4,096 tokens of width 3,584 and 152,064 words: cycles of its kernels over those
of the four products of matrices that it needs if the logits are not kept (forward, again, and two
gradients), and the temporary memory of the whole, value and gradients, against the same with all
logits.
"""

import functools
import json
import sys
from pathlib import Path

import isolated

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

HEADS, KV_HEADS, SIZE = 28, 4, 128
SEEN_HEADS, SEEN_SIZE, SEEN_TOKENS, WINDOW = 16, 80, 2048, 64
SEEN_OURS = [{"block": n} for n in (512, 128, 256, 1024)]
SEEN_SPLASH = [{"block": n, "compute": min(n, 512)} for n in (512, 128, 256, 1024)]
SEEN_SPLASH += [{"block": 1024, "compute": 1024}]
TOKENS, WIDTH, WORDS = 4096, 3584, 152_064
OURS = (256, 512, 1024)
TILES = (512, 256)  # words of the loss's kernels
SPLASH = ((512, 512), (1024, 512), (1024, 1024))  # (block of memory, block of computing)


def _blocks(tokens, block):
  """(blocks, pairs of a block of queries and one of keys that see one another)."""
  n = tokens // block
  return n, n * (n + 1) // 2


def flash(tokens, block):
  """See bench/tpu/schedule.py."""
  import jax
  import jax.numpy as jnp
  from tpu.schedule import Work

  from cot_rm.kernels import block_mask, flash_attention

  block_mask.BLOCK = block
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


def _splash_sizes(block, compute, fused):
  from jax.experimental.pallas.ops.tpu import splash_attention as theirs

  return theirs.BlockSizes(
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


def splash(tokens, block, compute, fused):
  import jax
  import jax.numpy as jnp
  from jax.experimental.pallas.ops.tpu import splash_attention as theirs
  from tpu.schedule import Work

  sizes = _splash_sizes(block, compute, fused)
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


def _vision(tokens, block, seen):
  """(blocks, pairs of blocks that see one another, segments) of "windows" or "full"."""
  n = tokens // block
  windows = seen == "windows"
  return n, n if windows else n * n, [i // WINDOW if windows else 1 for i in range(tokens)]


def flash_vision(tokens, block, seen):
  """See bench/tpu/schedule.py: the vision tower's."""
  import jax
  import jax.numpy as jnp
  from tpu.schedule import Work

  from cot_rm.kernels import block_mask, flash_attention

  block_mask.BLOCK = block
  n, pairs, segments = _vision(tokens, block, seen)
  ids = jnp.array([segments])
  total = lambda *qkv: flash_attention.flash_attention(*qkv, ids, ids, causal=False)[0].sum()
  x = jax.ShapeDtypeStruct((1, tokens, SEEN_HEADS, SEEN_SIZE), jnp.bfloat16)
  rows, every = SEEN_HEADS * n, SEEN_HEADS * pairs
  masked, whole = (every, 0) if seen == "windows" else (0, every)
  product = 2 * SEEN_HEADS * tokens * (WINDOW if masked else tokens) * SEEN_SIZE
  size = 2 * SEEN_HEADS * tokens * SEEN_SIZE
  works = {
    "flash_forward": Work(2 * product, 4 * size, rows, (masked, whole, 0)),
    "flash_backward": Work(5 * product, 8 * size, rows, (SEEN_HEADS, masked, whole, 0, SEEN_HEADS)),
  }
  return jax.grad(total, (0, 1, 2)), (x,) * 3, works


def splash_vision(tokens, block, compute, seen):
  """The same with its heads padded to 128, which it asks for; it knows the windows beforehand."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  from jax.experimental.pallas.ops.tpu import splash_attention as theirs
  from tpu.schedule import Work

  sizes = _splash_sizes(block, compute, fused=True)
  n, pairs, segments = _vision(tokens, block, seen)
  ids = np.array(segments)
  if seen == "windows":
    mask = theirs.NumpyMask(ids[:, None] == ids[None])
  else:
    mask = theirs.FullMask((tokens, tokens))
  kernel = theirs.make_splash_mha_single_device(
    theirs.MultiHeadMask([mask] * SEEN_HEADS), block_sizes=sizes
  )
  x = jax.ShapeDtypeStruct((SEEN_HEADS, tokens, 128), jnp.bfloat16)
  rows, every = SEEN_HEADS * n, SEEN_HEADS * pairs
  product = 2 * SEEN_HEADS * tokens * (tokens // n) * SEEN_SIZE * (pairs // n)
  runs = rows, every, rows
  works = {
    # A grid of one block a row begins and ends with each.
    "splash_mha_fwd_residuals": Work(2 * product, 1, every, runs[1:2] if pairs == n else runs),
    "splash_mha_dkv_no_residuals": Work(5 * product, 1, every, runs),
  }
  total = lambda *qkv: kernel(*qkv).astype(jnp.float32).sum()
  return jax.grad(total, (0, 1, 2)), (x,) * 3, works


def vision(chip, seen, quick):
  """As `attention`, of the vision tower."""
  from tpu import schedule

  look = functools.partial(schedule.measure, chip=chip, tokens=SEEN_TOKENS, seen=seen)

  def best(target, tried):
    tables = []
    for given in tried[:1] if quick else tried:
      blocks = "/".join(map(str, given.values()))
      try:
        r = look(f"{__file__}:{target}", **given)
      except RuntimeError as error:
        # Splash attention leaves its share of VMEM to the compiler: large blocks may not fit.
        if target != "splash_vision" or "scoped vmem limit" not in str(error):
          raise
        sys.stdout.write(f"{chip}, vision, {seen}: splash at {blocks} does not fit VMEM\n")
        continue
      tables.append({name: (f["cycles"], f["fraction"], blocks) for name, f in r.items()})
    return min(tables, key=lambda rows: sum(cycles for cycles, *_ in rows.values()))

  return {"ours": best("flash_vision", SEEN_OURS), "splash": best("splash_vision", SEEN_SPLASH)}


def attention(chip, tokens, quick):
  """{"ours", "splash": {kernel: (cycles, fraction of the bound, blocks)}}."""
  from tpu import schedule

  look = functools.partial(schedule.measure, chip=chip, tokens=tokens)
  rows = lambda r, blocks: {k: (f["cycles"], f["fraction"], blocks) for k, f in r.items()}
  # Ours has the same blocks forward and backward.
  tried = [rows(look(f"{__file__}:flash", block=b), b) for b in (OURS[1:2] if quick else OURS)]
  ours = min(tried, key=lambda rows: sum(cycles for cycles, *_ in rows.values()))
  found = {"ours": ours, "splash": {}}
  fused = {}
  for block, compute in SPLASH[:1] if quick else SPLASH:
    blocks = f"{block}/{compute}"
    new = look(f"{__file__}:splash", block=block, compute=compute, fused=False)
    for name, row in rows(new, blocks).items():
      found["splash"][name] = min(row, found["splash"].get(name, row))
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
  return found


def _loss_inputs():
  import jax
  import jax.numpy as jnp

  shape, row = jax.ShapeDtypeStruct, jax.ShapeDtypeStruct((1, TOKENS), jnp.float32)
  x = shape((1, TOKENS, WIDTH), jnp.bfloat16)
  return x, shape((WORDS, WIDTH), jnp.bfloat16), shape((1, TOKENS), jnp.int32), *[row] * 4


def _loss(f, **how):
  """Value and gradients of a loss of GRPO with its KL to a reference."""
  import jax

  def loss(x, w, tokens, old, advantages, weights, ref):
    return f(x, w, tokens, old, advantages, weights, ref_logps_BT=ref, kl=0.04, **how)

  return jax.value_and_grad(loss, (0, 1))


def loss(tile):
  """See bench/tpu/schedule.py."""
  from tpu.schedule import Work

  from cot_rm.kernels import fused_head, grpo_loss
  from cot_rm.models import logprobs

  fused_head.TILES = (tile,)
  steps = -(-WORDS // tile)
  blocks = steps * TOKENS // fused_head.BLOCK
  product, size = 2 * TOKENS * WIDTH * WORDS, 2 * WORDS * WIDTH
  works = {
    "head_forward": Work(product, size, steps, (1, steps, blocks)),
    "head_backward": Work(3 * product, 2 * size, steps, (1, steps, blocks)),
  }
  return _loss(grpo_loss.grpo_loss, logps=logprobs.token_logps), _loss_inputs(), works


def temporary(chip):
  """(bytes of the loss's temporaries by its kernels, and with all logits)."""
  import jax
  from tpu import chips

  from cot_rm.kernels import grpo_loss
  from cot_rm.models import logprobs

  layout = chips.one(chip)
  found = []
  with jax.set_mesh(layout.mesh):
    for f in (
      _loss(grpo_loss.grpo_loss, logps=logprobs.token_logps),
      _loss(grpo_loss.grpo_loss_ref),
    ):
      program = jax.jit(f).lower(*chips.on(layout, _loss_inputs())).compile()
      found.append(program.memory_analysis().temp_size_in_bytes)
  return found


def decoding():
  """See bench/tpu/schedule.py: a token of the 7b's decoder, 8 answers of each of 8 questions."""
  import jax
  import jax.numpy as jnp
  from tpu.schedule import Work

  from cot_rm.kernels import decode_attention as decode

  seats, group, prompt, answer, chunk = 8, 8, 1024, 512, 64
  B, shape = seats * group, jax.ShapeDtypeStruct
  some = lambda *sizes: shape(sizes, jnp.bfloat16)
  number = lambda *sizes: shape(sizes, jnp.int32)
  part = lambda rows, T: decode.KeysValues(
    some(1, rows, KV_HEADS, SIZE, T), some(1, rows, KV_HEADS, T, SIZE)
  )
  cache = decode.DecodeCache(
    part(seats, prompt), number(seats), part(B, answer), number(B), part(B, chunk), number()
  )
  rows, numbers = HEADS // KV_HEADS, KV_HEADS * SIZE
  flops = 4 * KV_HEADS * rows * SIZE
  blocks = prompt // decode.BLOCK, answer // decode.BLOCK
  tiles = B // decode.MAX_TILE
  works = {
    "decode_prompts": Work(
      flops * B * prompt,
      4 * numbers * seats * prompt,
      seats * blocks[0],
      (seats, seats * blocks[0], seats),
    ),
    "decode_samples": Work(
      flops * B * (answer + chunk),
      4 * numbers * B * (answer + chunk),
      tiles * blocks[1],
      (tiles * blocks[1],),  # one block: it begins and ends with it
    ),
  }
  given = (some(B, HEADS, SIZE), number(), cache, number(seats, group), number(B))
  return decode.decode_attention, given, works


def losses(chip, quick):
  """{kernel: (cycles, fraction of the bound, words of a tile)} of the loss, the best of tiles."""
  from tpu import schedule

  found = {}
  for tile in TILES[:1] if quick else TILES:
    for name, r in schedule.measure(f"{__file__}:loss", chip, tile=tile).items():
      if r["cycles"] < found.get(name, (float("inf"),))[0]:
        found[name] = r["cycles"], r["fraction"], tile
  return found


def main():
  parser = isolated.parser(__doc__, "v5e, 2,048 tokens, one size of blocks")
  parser.add_argument("--chips", default="v5e,v5p,v6e")
  args = parser.parse_args()
  if args.one == "temporary":
    sys.stdout.write(json.dumps(temporary("v5e")) + "\n")
    return
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  say(f"{'':<44}{'cycles':>14}{'of the bound':>14}  blocks")
  ratios, of_products, of_copies, best = {}, {}, {}, {}

  def table(title, rows):
    total = sum(row[0] for row in rows.values())
    say(f"{title:<44}{total:>14,}")
    for name, (part, fraction, blocks) in rows.items():
      say(f"  {name:<42}{part:>14,}{fraction:>14.3f}  {blocks}")
    return total

  from tpu import schedule
  from tpu.chips import CHIPS

  for chip in ["v5e"] if args.quick else args.chips.split(","):
    for tokens in (2048,) if args.quick else (2048, 8192):
      found = attention(chip, tokens, args.quick)
      ours, splash = [table(f"{chip}, {tokens:,} tokens, {w}", rows) for w, rows in found.items()]
      ratios.setdefault(chip, {})[tokens] = round(ours / splash, 3)
      best.setdefault(chip, {})[tokens] = next(iter(found["ours"].values()))[-1]
    for seen in ("windows", "full"):
      found = vision(chip, seen, args.quick)
      title = f"{chip}, vision, {seen}"
      ours, splash = [table(f"{title}, {who}", rows) for who, rows in found.items()]
      ratios[chip][f"vision, {seen}"] = round(ours / splash, 3)
    found = schedule.measure(f"{__file__}:decoding", chip).values()
    cycles, copies = (sum(r[name] for r in found) for name in ("cycles", "bytes_bound"))
    say(f"{f'{chip}, a token of decoding':<44}{cycles:>14,}{copies:>14,} to read keys and values")
    of_copies[chip] = round(cycles / copies, 3)
    if CHIPS[chip].cores == 1:  # the others' VMEM holds a part of the tokens at a time
      cycles = table(f"{chip}, loss of {TOKENS:,} tokens", losses(chip, args.quick))
      of_products[chip] = round(cycles / (8 * TOKENS * WIDTH * WORDS / CHIPS[chip].cycle_flops), 3)
  say("kernels/blocks.py:")
  for chip, rows in best.items():
    say(f'  ("flash_attention", "{chip}"): {rows},')
  ours, every = isolated.call(__file__, "--one", "temporary")
  say(f"v5e, temporary bytes of the loss: {ours:,}, with all logits {every:,}")
  say(
    json.dumps(
      {
        "attention_vs_splash": ratios,
        "grpo_loss_temp_ratio": round(every / ours, 1),
        "grpo_loss_cycles_ratio": of_products,
        "decode_cycles_of_copies": of_copies,
      }
    )
  )


if __name__ == "__main__":
  main()
