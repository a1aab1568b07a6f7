"""Our kernels against JAX's own, in cycles of TPU chips by the compiler's schedule; needs no TPU.

  python bench/kernels.py [--quick] [--chips v5e,v5p,v6e]

Attention, forward and backward, bfloat16: the 7b's decoder (28 query and 4 kv heads of 128, causal)
over 2,048 and 8,192 tokens, against jax.experimental's splash attention (forward, then dkv and dq
or its fused backward, whichever is faster), each with the best block size of those tried. Only the
kernels count, not the XLA operations around them; this favours fused splash attention, which sums
the parts of dq outside. And the vision tower (16 heads of 80, 2,048 patches, in windows of 64 and
in full): splash attention gets heads padded to 128, which it requires, knows the windows at compile
time, and uses its fused backward.

Decoding attention of one token: its cycles, and the cycles of the copies of keys and values.

GRPO's loss at 4,096 tokens of width 3,584 and 152,064 words: cycles of its kernels over those of
the four matrix products that it needs without stored logits (forward, recomputation and two
gradients); and the temporary memory of value and gradients, against the same with all logits.
"""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import isolated
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash_lib
from tpu import chips, schedule
from tpu.schedule import Work

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

HEADS, KV_HEADS, HEAD_DIM = 28, 4, 128  # of the 7b's decoder
VISION_HEADS, VISION_HEAD_DIM, PATCHES, WINDOW = 16, 80, 2048, 64
TOKENS, WIDTH, WORDS = 4096, 3584, 152_064  # of the loss
# Tried block sizes, the first one with --quick: arguments of the targets below.
FLASH_BLOCKS = [{"block": n} for n in (512, 256, 1024)]
SPLASH_BLOCKS = [
  {"block": block, "compute": compute} for block, compute in ((512, 512), (1024, 512), (1024, 1024))
]
VISION_FLASH_BLOCKS = [{"block": n} for n in (512, 128, 256, 1024)]
VISION_SPLASH_BLOCKS = [
  {"block": block, "compute": compute}
  for block, compute in ((512, 512), (128, 128), (256, 256), (1024, 512), (1024, 1024))
]
TILES = (512, 256)  # words of a tile of the loss's kernels

Mask = Literal["windows", "full"]  # of the vision tower
# A function that bench/tpu/schedule.py compiles, its arguments as shapes, the work of its kernels.
Target = tuple[Callable[..., object], tuple[object, ...], dict[str, Work]]


@dataclasses.dataclass(frozen=True)
class Cycles:
  """Cycles of a kernel with the best settings."""

  cycles: int
  fraction: float  # lower bound of the cycles over these
  setting: str  # block sizes, or words of a tile


Table = dict[str, Cycles]  # by kernel


def _total(table: Table) -> int:
  """Cycles of all kernels."""
  return sum(row.cycles for row in table.values())


def _causal_blocks(tokens: int, block: int) -> tuple[int, int]:
  """(blocks of a row, pairs of a block of queries and a block of keys that it sees)."""
  n = tokens // block
  return n, n * (n + 1) // 2


def _gradient(attention: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, ...]]:
  """Gradients of the sum of an attention's output in q, k and v."""

  def loss(*qkv):
    return attention(*qkv).astype(jnp.float32).sum()

  return jax.grad(loss, (0, 1, 2))


def flash(tokens: int, block: int) -> Target:
  """Flash attention of the decoder."""
  from cot_rm.kernels import block_mask, flash_attention

  block_mask.BLOCK = block
  q = jax.ShapeDtypeStruct((1, tokens, HEADS, HEAD_DIM), jnp.bfloat16)
  k = jax.ShapeDtypeStruct((1, tokens, KV_HEADS, HEAD_DIM), jnp.bfloat16)
  n, pairs = _causal_blocks(tokens, block)
  steps, full, edge = HEADS * n, HEADS * (pairs - n), HEADS * n
  product = HEADS * tokens**2 * HEAD_DIM  # causal: half of two matrix products
  q_bytes, kv_bytes = 2 * HEADS * tokens * HEAD_DIM, 2 * KV_HEADS * tokens * HEAD_DIM
  works = {
    "flash_forward": Work(2 * product, 2 * q_bytes + 2 * kv_bytes, steps, (0, full, edge)),
    "flash_backward": Work(
      5 * product,
      3 * q_bytes + (2 * HEADS // KV_HEADS + 2) * kv_bytes,
      steps,
      (HEADS, KV_HEADS * n, edge, full, 0, HEADS, KV_HEADS * n),
    ),
  }
  return _gradient(lambda *qkv: flash_attention.flash_attention(*qkv)[0]), (q, k, k), works


def _splash_sizes(block: int, compute: int, fused: bool) -> splash_lib.BlockSizes:
  """Block sizes in memory and in computing, the same for all of splash attention's kernels."""
  return splash_lib.BlockSizes(
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


def splash(tokens: int, block: int, compute: int, fused: bool) -> Target:
  """Splash attention of the decoder, vmapped over kv heads."""
  sizes = _splash_sizes(block, compute, fused)
  group = HEADS // KV_HEADS
  mask = splash_lib.MultiHeadMask([splash_lib.CausalMask((tokens, tokens))] * group)
  kernel = splash_lib.make_splash_mqa_single_device(mask, block_sizes=sizes)
  q = jax.ShapeDtypeStruct((KV_HEADS, group, tokens, HEAD_DIM), jnp.bfloat16)
  k = jax.ShapeDtypeStruct((KV_HEADS, tokens, HEAD_DIM), jnp.bfloat16)
  n, pairs = _causal_blocks(tokens, block)
  row, visible, steps = HEADS * n, HEADS * pairs, HEADS * n * n
  product = HEADS * tokens**2 * HEAD_DIM
  works = {
    "splash_mqa_fwd_residuals": Work(2 * product, 1, steps, (row, visible, row)),
    "splash_mqa_dkv_no_residuals": Work(
      (5 if fused else 4) * product, 1, steps, (KV_HEADS * n, visible, KV_HEADS * n)
    ),
  }
  if not fused:
    works["splash_mqa_dq_no_residuals"] = Work(3 * product, 1, steps, (row, visible, row))
  return _gradient(jax.vmap(kernel)), (q, k, k), works


def _vision_blocks(block: int, mask: Mask) -> tuple[int, int, list[int]]:
  """(blocks of a row, pairs of blocks that see one another, segment ids of the patches)."""
  n = PATCHES // block
  if mask == "windows":
    return n, n, [i // WINDOW for i in range(PATCHES)]
  return n, n * n, [1] * PATCHES


def flash_vision(block: int, mask: Mask) -> Target:
  """Flash attention of the vision tower."""
  from cot_rm.kernels import block_mask, flash_attention

  block_mask.BLOCK = block
  n, pairs, segments = _vision_blocks(block, mask)
  ids = jnp.array([segments])

  def loss(*qkv):
    return flash_attention.flash_attention(*qkv, ids, ids, causal=False)[0].sum()

  x = jax.ShapeDtypeStruct((1, PATCHES, VISION_HEADS, VISION_HEAD_DIM), jnp.bfloat16)
  rows, visible = VISION_HEADS * n, VISION_HEADS * pairs
  masked, full = (visible, 0) if mask == "windows" else (0, visible)
  product = 2 * VISION_HEADS * PATCHES * (WINDOW if masked else PATCHES) * VISION_HEAD_DIM
  size = 2 * VISION_HEADS * PATCHES * VISION_HEAD_DIM
  backward_runs = (VISION_HEADS, masked, full, 0, VISION_HEADS)
  works = {
    "flash_forward": Work(2 * product, 4 * size, rows, (masked, full, 0)),
    "flash_backward": Work(5 * product, 8 * size, rows, backward_runs),
  }
  return jax.grad(loss, (0, 1, 2)), (x,) * 3, works


def splash_vision(block: int, compute: int, mask: Mask) -> Target:
  """Splash attention of the vision tower, with heads padded to 128 and windows as a static mask."""
  sizes = _splash_sizes(block, compute, fused=True)
  n, pairs, segments = _vision_blocks(block, mask)
  ids = np.array(segments)
  if mask == "windows":
    head_mask = splash_lib.NumpyMask(ids[:, None] == ids[None])
  else:
    head_mask = splash_lib.FullMask((PATCHES, PATCHES))
  kernel = splash_lib.make_splash_mha_single_device(
    splash_lib.MultiHeadMask([head_mask] * VISION_HEADS), block_sizes=sizes
  )
  x = jax.ShapeDtypeStruct((VISION_HEADS, PATCHES, 128), jnp.bfloat16)
  rows, visible = VISION_HEADS * n, VISION_HEADS * pairs
  product = 2 * VISION_HEADS * PATCHES * (PATCHES // n) * VISION_HEAD_DIM * (pairs // n)
  runs = rows, visible, rows
  works = {
    # With one block a row, each step begins and ends a row.
    "splash_mha_fwd_residuals": Work(2 * product, 1, visible, runs[1:2] if pairs == n else runs),
    "splash_mha_dkv_no_residuals": Work(5 * product, 1, visible, runs),
  }
  return _gradient(kernel), (x,) * 3, works


def measured(target: str, chip: str, tried: Sequence[Mapping[str, int]], **given: object) -> Table:
  """The table of a target's kernels with the best of the tried settings.

  Args:
    target: name of a function of this file.
    chip: of chips.CHIPS.
    tried: settings, arguments of the target. Those of splash attention that do not fit VMEM are
      skipped: it leaves its share of VMEM to the compiler.
    given: further arguments of the target.
  """
  tables = []
  for setting in tried:
    name = "/".join(map(str, setting.values()))
    try:
      found = schedule.measure(f"{__file__}:{target}", chip, **given, **setting)
    except RuntimeError as error:
      if target != "splash_vision" or "scoped vmem limit" not in str(error):
        raise
      _say(f"{chip}, {target}: {name} does not fit VMEM")
      continue
    tables.append({k: Cycles(f["cycles"], f["fraction"], name) for k, f in found.items()})
  return min(tables, key=_total)


def vision(chip: str, mask: Mask, quick: bool) -> dict[str, Table]:
  """Tables of the vision tower's attention: "ours" and "splash"."""
  count = 1 if quick else None
  return {
    "ours": measured("flash_vision", chip, VISION_FLASH_BLOCKS[:count], mask=mask),
    "splash": measured("splash_vision", chip, VISION_SPLASH_BLOCKS[:count], mask=mask),
  }


def attention(chip: str, tokens: int, quick: bool) -> dict[str, Table]:
  """Tables of the decoder's attention: "ours", with one block size for all, and "splash"."""
  count = 1 if quick else None
  look = functools.partial(measured, chip=chip, tokens=tokens)
  splash_table, fused = {}, None
  for setting in SPLASH_BLOCKS[:count]:
    # Splash attention's kernels have block sizes of their own.
    for name, row in look("splash", tried=[setting], fused=False).items():
      splash_table[name] = min(row, splash_table.get(name, row), key=lambda row: row.cycles)
    row = look("splash", tried=[setting], fused=True)["splash_mqa_dkv_no_residuals"]
    if fused is None or row.cycles < fused.cycles:
      fused = dataclasses.replace(row, setting=f"{row.setting}, fused")
  backward = [name for name in splash_table if "fwd" not in name]
  if fused.cycles < sum(splash_table[name].cycles for name in backward):
    for name in backward:
      del splash_table[name]
    splash_table["splash_mqa_fused"] = fused
  return {"ours": look("flash", tried=FLASH_BLOCKS[:count]), "splash": splash_table}


def _loss_inputs() -> tuple[jax.ShapeDtypeStruct, ...]:
  """Hidden states, head, tokens, and four f32 rows."""
  row = jax.ShapeDtypeStruct((1, TOKENS), jnp.float32)
  return (
    jax.ShapeDtypeStruct((1, TOKENS, WIDTH), jnp.bfloat16),
    jax.ShapeDtypeStruct((WORDS, WIDTH), jnp.bfloat16),
    jax.ShapeDtypeStruct((1, TOKENS), jnp.int32),
    *[row] * 4,
  )


def _grpo_gradients(*, fused: bool) -> Callable[..., object]:
  """Value and gradients of GRPO's loss with a KL term: by the kernels, or with all logits."""
  from cot_rm.kernels import grpo_loss
  from cot_rm.models import logprobs

  f = grpo_loss.grpo_loss_ref
  if fused:
    f = functools.partial(grpo_loss.grpo_loss, logps=logprobs.token_logps)

  def grpo(x, w, *rows):
    *rows, ref_logps = rows
    return f(x, w, *rows, ref_logps_BT=ref_logps, kl=0.04)

  return jax.value_and_grad(grpo, (0, 1))


def loss(tile: int) -> Target:
  """GRPO's loss with tiles of `tile` words."""
  from cot_rm.kernels import fused_head

  fused_head.TILES = (tile,)
  steps = math.ceil(WORDS / tile)
  blocks = steps * TOKENS // fused_head.BLOCK
  product, size = 2 * TOKENS * WIDTH * WORDS, 2 * WORDS * WIDTH
  works = {
    "head_forward": Work(product, size, steps, (1, steps, blocks)),
    "head_backward": Work(3 * product, 2 * size, steps, (1, steps, blocks)),
  }
  return _grpo_gradients(fused=True), _loss_inputs(), works


def temporary_bytes(chip: str) -> list[int]:
  """Temporary memory of the loss and its gradients: by the kernels, and with all logits."""
  layout = chips.one(chip)
  found = []
  with jax.set_mesh(layout.mesh):
    for fused in (True, False):
      lowered = jax.jit(_grpo_gradients(fused=fused)).lower(*chips.on(layout, _loss_inputs()))
      found.append(lowered.compile().memory_analysis().temp_size_in_bytes)
  return found


def decoding() -> Target:
  """Decoding attention of a token of the 7b: 8 answers to each of 8 prompts."""
  from cot_rm.kernels import decode_attention as decode
  from cot_rm.kernels import decode_cache

  Q, G, S, P, C = 8, 8, 1024, 512, 64
  B = Q * G

  def numbers(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.int32)

  def part(rows: int, length: int) -> decode_cache.KeysValues:
    keys, values = (1, rows, KV_HEADS, HEAD_DIM, length), (1, rows, KV_HEADS, length, HEAD_DIM)
    return decode_cache.KeysValues(*(jax.ShapeDtypeStruct(x, jnp.bfloat16) for x in (keys, values)))

  cache = decode_cache.DecodeCache(
    part(Q, S), numbers(Q), part(B, P), numbers(B), part(B, C), numbers()
  )
  position_flops = 4 * HEADS * HEAD_DIM  # of a sample
  position_bytes = 4 * KV_HEADS * HEAD_DIM
  prompt_blocks, tiles = Q * S // decode.BLOCK, B // decode.MAX_TILE * P // decode.BLOCK
  works = {
    "decode_prompts": Work(
      position_flops * B * S, position_bytes * Q * S, prompt_blocks, (Q, prompt_blocks, Q)
    ),
    "decode_samples": Work(
      position_flops * B * (P + C),
      position_bytes * B * (P + C),
      tiles,
      (tiles,),  # one block of an answer: its step is the first and the last
    ),
  }
  q = jax.ShapeDtypeStruct((B, HEADS, HEAD_DIM), jnp.bfloat16)
  return decode.decode_attention, (q, numbers(), cache, numbers(Q, G), numbers(B)), works


def losses(chip: str, quick: bool) -> Table:
  """Table of the loss, each kernel with its best tile."""
  best = {}
  for tile in TILES[:1] if quick else TILES:
    for name, row in measured("loss", chip, [{"tile": tile}]).items():
      best[name] = min(row, best.get(name, row), key=lambda row: row.cycles)
  return best


def _say(line: str) -> None:
  sys.stdout.write(line + "\n")
  sys.stdout.flush()


def _print_table(title: str, table: Table) -> int:
  """Prints a table; returns its cycles."""
  _say(f"{title:<44}{_total(table):>14,}")
  for name, row in table.items():
    _say(f"  {name:<42}{row.cycles:>14,}{row.fraction:>14.3f}  {row.setting}")
  return _total(table)


def _ratio(title: str, tables: Mapping[str, Table]) -> float:
  """Prints the tables "ours" and "splash"; returns the ratio of their cycles."""
  ours, theirs = (_print_table(f"{title}, {name}", table) for name, table in tables.items())
  return round(ours / theirs, 3)


def main() -> None:
  """Prints the tables, the rows of BLOCK_SIZES, and the ratios as JSON."""
  parser = isolated.parser(__doc__, "v5e, 2,048 tokens, one block size")
  parser.add_argument("--chips", default="v5e,v5p,v6e")
  args = parser.parse_args()
  if args.one == "temporary":
    sys.stdout.write(json.dumps(temporary_bytes("v5e")) + "\n")
    return
  _say(f"{'':<44}{'cycles':>14}{'of the bound':>14}  blocks")
  ratios, loss_ratios, decode_ratios, block_sizes = {}, {}, {}, {}
  for chip in ["v5e"] if args.quick else args.chips.split(","):
    ratios[chip], block_sizes[chip] = {}, {}
    for tokens in (2048,) if args.quick else (2048, 8192):
      tables = attention(chip, tokens, args.quick)
      ratios[chip][tokens] = _ratio(f"{chip}, {tokens:,} tokens", tables)
      block_sizes[chip][tokens] = int(next(iter(tables["ours"].values())).setting)
    for mask in ("windows", "full"):
      tables = vision(chip, mask, args.quick)
      ratios[chip][f"vision, {mask}"] = _ratio(f"{chip}, vision, {mask}", tables)
    found = schedule.measure(f"{__file__}:decoding", chip).values()
    cycles, copies = (sum(f[name] for f in found) for name in ("cycles", "bytes_bound"))
    _say(f"{f'{chip}, a token of decoding':<44}{cycles:>14,}{copies:>14,} to read keys and values")
    decode_ratios[chip] = round(cycles / copies, 3)
    if chips.CHIPS[chip].cores == 1:  # VMEM of the other chips holds only a part of the tokens
      cycles = _print_table(f"{chip}, loss of {TOKENS:,} tokens", losses(chip, args.quick))
      product_cycles = 8 * TOKENS * WIDTH * WORDS / chips.CHIPS[chip].cycle_flops
      loss_ratios[chip] = round(cycles / product_cycles, 3)
  _say("kernels/common.py, BLOCK_SIZES:")
  for chip, sizes in block_sizes.items():
    _say(f'  ("flash_attention", "{chip}"): {sizes},')
  ours, all_logits = isolated.call(__file__, "--one", "temporary")
  _say(f"v5e, temporary bytes of the loss: {ours:,}, with all logits {all_logits:,}")
  _say(
    json.dumps(
      {
        "attention_vs_splash": ratios,
        "grpo_loss_temp_ratio": round(all_logits / ours, 1),
        "grpo_loss_cycles_ratio": loss_ratios,
        "decode_cycles_of_copies": decode_ratios,
      }
    )
  )


if __name__ == "__main__":
  main()
