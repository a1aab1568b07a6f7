"""Attention of one new token per sample, for TPUs: to its prompt, its answer and its chunk.

B samples, Q prompts with G group indices each; N heads, K kv heads, R = N / K, r = R padded to
whole registers, H head size; S prompt positions, P answer positions, C positions of the chunk that
is being decoded, L layers.

Decoding is bound by the bytes that it reads. A prompt's keys and values are read once for all its
samples, an answer's up to the longest of its tile of samples, and one softmax spans the three
parts. One kernel goes over the prompts; a second goes over the samples and starts from the first
one's partial softmax, because the assignment of samples to prompts changes between tokens. Caches
of all layers are read in place.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import common
from cot_rm.kernels.common import LANES
from cot_rm.kernels.decode_cache import DecodeCache, KeysValues

BLOCK = 512  # positions of a block
VMEM_OVERHEAD = 6 << 20  # bytes of VMEM beside the blocks
SUBLANES = 8  # rows of a register: a sample's heads of a kv head are padded to whole registers
MASKED = -1e30  # score of a position that is not filled
LOWEST = -1e29  # running maximum before the first score: far above MASKED
MAX_TILE = 8  # samples of a step of the grid
MAX_VMEM_STACK = 32 << 20  # bytes of a stack of layers that the compiler may keep in VMEM

BlockedArray = tuple[jax.Array | jax.ShapeDtypeStruct, pl.BlockSpec]


def decode_attention_ref(
  q_BNH: jax.Array,
  layer: jax.Array | int,
  cache: DecodeCache,
  sample_QG: jax.Array,
  flat_index_B: jax.Array,
) -> jax.Array:
  """The definition: one softmax over the concatenation of a sample's three parts.

  Args:
    q_BNH: queries.
    layer: i32[], index of the layer in the cache.
    cache: keys and values.
    sample_QG: i32, the sample at each group index of a prompt; B or more: none.
    flat_index_B: i32, q * G + g of each sample; arbitrary for an inactive one.

  Returns:
    [B, N, H] in q's dtype; sums are float32.
  """
  B, N, H = q_BNH.shape
  K = cache.prompts.keys.shape[2]
  prompt_B = flat_index_B // sample_QG.shape[1]
  prompts, *parts = (p.of_layer(layer) for p in (cache.prompts, cache.answers, cache.chunk))
  keys, values = zip(tuple(x[prompt_B] for x in prompts), *parts, strict=True)
  lengths = (
    cache.prompt_length_Q[prompt_B],
    cache.answer_length_B,
    jnp.broadcast_to(cache.chunk_position + 1, B),
  )
  visible = [
    jnp.arange(k.shape[-1])[None] < length_B[:, None]
    for k, length_B in zip(keys, lengths, strict=True)
  ]
  mask_BS = jnp.concatenate(visible, -1)
  q_BKRH = q_BNH.reshape(B, K, N // K, H).astype(jnp.float32)
  s_BKRS = jnp.einsum("BKRH,BKHS->BKRS", q_BKRH, jnp.concatenate(keys, -1)) * H**-0.5
  p_BKRS = jax.nn.softmax(jnp.where(mask_BS[:, None, None], s_BKRS, -jnp.inf), axis=-1)
  o_BKRH = jnp.einsum("BKRS,BKSH->BKRH", p_BKRS, jnp.concatenate(values, -2))
  return o_BKRH.reshape(B, N, H).astype(q_BNH.dtype)


class _Softmax(NamedTuple):
  """Refs of a partial softmax, float32: an online softmax is resumed from it."""

  max_ref: jax.Ref  # [K, rows, LANES]: highest score so far, in every lane
  total_ref: jax.Ref  # [K, rows, LANES]: sum of exponentials, in every lane
  out_ref: jax.Ref  # [K, rows, H]: weighted sum of the values


def _attend_block(
  softmax: _Softmax,
  at: tuple[int, slice | pl.Slice],
  q: jax.Array,
  cache_refs: Sequence[jax.Ref],
  block: tuple[int | jax.Array, ...],
  *,
  count: jax.Array,
  dtype: jnp.dtype,
) -> None:
  """Adds a block of positions to the partial softmax of the rows `at`.

  Args:
    softmax: the partial softmax.
    at: (kv head, rows).
    q: f32[rows, H], scaled.
    cache_refs: refs of keys and of values; of int8 also of their scales.
    block: index of the block: [H, positions], [positions, H] and scales [1, positions].
    count: positions of the block that count, the first ones; 0 or less: none.
    dtype: of the operands of the matrix products.
  """
  keys_ref, values_ref, *scale_refs = cache_refs
  max_ref, total_ref, out_ref = softmax
  s = common.matmul(q.astype(dtype), keys_ref[block].astype(dtype))
  if scale_refs:
    s *= scale_refs[0][block]
  s = jnp.where(lax.broadcasted_iota(jnp.int32, s.shape, 1) < count, s, MASKED)
  before = max_ref[at]
  highest = jnp.maximum(before, s.max(1, keepdims=True))
  p, fade = jnp.exp(s - highest[:, :1]), jnp.exp(before - highest)
  total_ref[at] = total_ref[at] * fade + p.sum(1, keepdims=True)
  if scale_refs:
    p *= scale_refs[1][block]
  out_ref[at] = out_ref[at] * fade[:, :1] + common.matmul(
    p.astype(dtype), values_ref[block].astype(dtype)
  )
  max_ref[at] = highest


def _prompt_kernel(scalars_ref, length_ref, q_ref, *refs: jax.Ref, dtype: jnp.dtype) -> None:
  """One block of a prompt's positions, for the samples at all its group indices.

  Args:
    scalars_ref: i32[2], (layer, chunk position).
    length_ref: i32[Q].
    q_ref: [G, K, rows, H].
    refs: keys, values and scales [K, ...]; the outputs: the weighted sum [G, K, rows, H], and
      [G, K, rows, LANES] with the highest score in the first half of the lanes and the total in the
      second; then the scratch of a `_Softmax`.
    dtype: of the operands of the matrix products.
  """
  *cache_refs, o_ref, stats_ref, max_ref, total_ref, out_ref = refs
  softmax = _Softmax(max_ref, total_ref, out_ref)
  n, j = pl.program_id(0), pl.program_id(1)
  G, K, rows, H = q_ref.shape
  count = length_ref[n] - j * cache_refs[0].shape[-1]

  @pl.when(j == 0)
  def _begin():
    max_ref[...] = jnp.full_like(max_ref, LOWEST)
    total_ref[...] = jnp.zeros_like(total_ref)
    out_ref[...] = jnp.zeros_like(out_ref)

  @pl.when(count > 0)
  def _attend():
    for k in range(K):
      q = q_ref[:, k].reshape(G * rows, H)
      _attend_block(softmax, (k, slice(None)), q, cache_refs, (k,), count=count, dtype=dtype)

  @pl.when(j == pl.num_programs(1) - 1)
  def _end():
    first_half = lax.broadcasted_iota(jnp.int32, max_ref.shape[1:], 1) < LANES // 2
    for k in range(K):
      o_ref[:, k] = out_ref[k].reshape(G, rows, H)
      stats = jnp.where(first_half, max_ref[k], total_ref[k])
      stats_ref[:, k] = stats.reshape(G, rows, LANES)


def _sample_kernel(
  scalars_ref, longest_ref, length_ref, q_ref, *refs: jax.Ref, answer_arrays: int, dtype: jnp.dtype
) -> None:
  """A tile of samples and one block of their answers, resumed from `_prompt_kernel`'s softmax.

  Args:
    scalars_ref: i32[2], (layer, chunk position).
    longest_ref: i32[B / tile], length of the longest answer of each tile.
    length_ref: i32[B], answer lengths, without the chunk.
    q_ref: [tile, K, rows, H].
    refs: the prompt's weighted sum and statistics; keys, values and scales of the answers and of
      the chunk [tile, K, ...]; the normalized output [tile, K, rows, H]; a `_Softmax`'s scratch.
    answer_arrays: number of the answers' refs: 2, or of int8 4.
    dtype: of the operands of the matrix products.
  """
  prompt_out_ref, prompt_stats_ref, *refs = refs
  *cache_refs, o_ref, max_ref, total_ref, out_ref = refs
  answer_refs, chunk_refs = cache_refs[:answer_arrays], cache_refs[answer_arrays:]
  softmax = _Softmax(max_ref, total_ref, out_ref)
  n, j = pl.program_id(0), pl.program_id(1)
  tile, K, rows, _ = q_ref.shape

  def for_each_head(do: Callable[[jax.Array, int, tuple[int, pl.Slice]], None]) -> None:
    """Calls do(sample, kv head, index of the rows of both in the softmax) for all of the tile."""

    def sample(b: jax.Array, _: None) -> None:
      place = pl.ds(pl.multiple_of(b * rows, rows), rows)
      for k in range(K):
        do(b, k, (k, place))

    lax.fori_loop(0, tile, sample, None)

  @pl.when(j == 0)
  def _begin():
    def resume(b, k, at):
      stats = prompt_stats_ref[b, k]
      max_ref[at] = jnp.broadcast_to(stats[:, :1], (rows, LANES))
      total_ref[at] = jnp.broadcast_to(stats[:, LANES // 2 : LANES // 2 + 1], (rows, LANES))
      out_ref[at] = prompt_out_ref[b, k]
      q, count = q_ref[b, k], scalars_ref[1] + 1
      _attend_block(softmax, at, q, chunk_refs, (b, k), count=count, dtype=dtype)

    for_each_head(resume)

  first = j * answer_refs[0].shape[-1]

  @pl.when(first < longest_ref[n])
  def _attend():
    def attend(b, k, at):
      q, count = q_ref[b, k], length_ref[n * tile + b] - first
      _attend_block(softmax, at, q, answer_refs, (b, k), count=count, dtype=dtype)

    for_each_head(attend)

  @pl.when(j == pl.num_programs(1) - 1)
  def _end():
    def normalize(b, k, at):
      o_ref[b, k] = out_ref[at] / total_ref[at][:, :1]

    for_each_head(normalize)


def _block(length: int) -> int:
  """Positions of a block: BLOCK, or all of a length that is not a multiple of it."""
  return BLOCK if length % BLOCK == 0 else length


def _last_block(length: jax.Array, block: int) -> jax.Array:
  """Index of the last block with any of the first `length` positions."""
  return jnp.maximum(lax.div(length + block - 1, block) - 1, 0)


def _vmem_bytes(blocked: BlockedArray) -> int:
  """Bytes of VMEM that an array's blocks take, double-buffered, in whole lanes."""
  x, spec = blocked
  sizes = [size for size in spec.block_shape if size is not None]
  return 2 * x.dtype.itemsize * math.prod([*sizes[:-1], -(-sizes[-1] // LANES) * LANES])


def _blocked_cache(
  part: KeysValues, rows: int | None, size: int, index: Callable[..., tuple]
) -> list[BlockedArray]:
  """A part's arrays in blocks of `rows` rows (None: one, without its axis) and `size` positions.

  index: grid step and scalars -> (layer, block of rows, block of positions).
  """
  *_, K, H, _ = part.keys.shape

  def keys_index(*step):
    layer, row, position = index(*step)
    return layer, row, 0, 0, position

  def values_index(*step):
    layer, row, position = index(*step)
    return layer, row, 0, position, 0

  scales = [x[..., None, :] for x in part[2:] if x is not None]
  return [
    (part.keys, pl.BlockSpec((None, rows, K, H, size), keys_index)),
    (part.values, pl.BlockSpec((None, rows, K, size, H), values_index)),
    *[(x, pl.BlockSpec((None, rows, K, 1, size), keys_index)) for x in scales],
  ]


def _in_hbm(x: jax.Array) -> jax.Array:
  """A stack of all layers, pinned to HBM if it is large.

  The compiler copies a stack that just fits VMEM there as a whole, once per layer, although a
  kernel reads one layer. A small stack can stay in VMEM for all layers and must not be pinned.
  """
  return pltpu.with_memory_space_constraint(x, pltpu.HBM) if x.nbytes > MAX_VMEM_STACK else x


def _cost(q: jax.Array, *parts: KeysValues) -> pl.CostEstimate:
  """Upper bound of one layer's cost: all positions are read."""
  arrays = jax.tree.leaves(parts)
  rows, H = q.size // q.shape[-1], q.shape[-1]
  pairs = sum(rows * part.keys.shape[-1] for part in parts)
  return pl.CostEstimate(
    flops=4 * pairs * H,
    transcendentals=pairs,
    bytes_accessed=sum(x.nbytes // x.shape[0] for x in arrays) + 2 * q.nbytes,
  )


@dataclasses.dataclass(frozen=True)
class _Launch:
  """Static settings of a pallas_call."""

  name: str
  grid: tuple[int, int]
  softmax_rows: int  # rows of the partial softmax of a kv head
  cost: pl.CostEstimate
  interpret: bool | pltpu.InterpretParams


def _call(
  kernel: Callable[..., None],
  launch: _Launch,
  scalars: Sequence[jax.Array],
  inputs: Sequence[BlockedArray],
  outputs: Sequence[BlockedArray],
) -> list[jax.Array]:
  """Runs a kernel whose first input is the queries [rows, K, r, H]; returns its outputs."""
  K, H = inputs[0][0].shape[1], inputs[0][0].shape[-1]
  rows = launch.softmax_rows
  softmax = [(K, rows, LANES), (K, rows, LANES), (K, rows, H)]
  return pl.pallas_call(
    kernel,
    out_shape=[shape for shape, _ in outputs],
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=len(scalars),
      grid=launch.grid,
      in_specs=[spec for _, spec in inputs],
      out_specs=[spec for _, spec in outputs],
      scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in softmax],
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"),
      # No more than needed: the compiler cannot prefetch weights into VMEM that is reserved here.
      vmem_limit_bytes=VMEM_OVERHEAD + sum(map(_vmem_bytes, [*inputs, *outputs])),
    ),
    cost_estimate=launch.cost,
    interpret=launch.interpret,
    name=launch.name,
  )(*scalars, *[x for x, _ in inputs])


def _block_of_rows(n: jax.Array, *_: jax.Array) -> tuple[jax.Array, int, int, int]:
  """Index map: the first axis of the grid is that of the array."""
  return n, 0, 0, 0


def decode_attention(
  q_BNH: jax.Array,
  layer: jax.Array | int,
  cache: DecodeCache,
  sample_QG: jax.Array,
  flat_index_B: jax.Array,
  *,
  interpret: bool | pltpu.InterpretParams = False,
) -> jax.Array:
  """Equal to `decode_attention_ref`, on a TPU. Matrix products take operands in q's dtype.

  interpret: see `pallas_call`; runs the kernels on other platforms.
  """
  B, N, H = q_BNH.shape
  (Q, G), K = sample_QG.shape, cache.prompts.keys.shape[2]
  R, tile = N // K, math.gcd(B, MAX_TILE)
  rows = -(-R // SUBLANES) * SUBLANES
  scalars = jnp.stack([layer, cache.chunk_position])
  prompts, answers, chunk = cache.prompts, cache.answers, cache.chunk
  if not interpret:
    prompts, answers, chunk = jax.tree.map(_in_hbm, (prompts, answers, chunk))
  # The queries of a sample's kv head are in registers of their own.
  q_BKrH = q_BNH.reshape(B, K, R, H).astype(jnp.float32) * H**-0.5
  q_BKrH = jnp.pad(q_BKrH, ((0, 0), (0, 0), (0, rows - R), (0, 0)))
  q_PKrH = q_BKrH.at[sample_QG.reshape(-1)].get(mode="fill", fill_value=0)

  def blocks(count: int, width: int) -> pl.BlockSpec:
    return pl.BlockSpec((count, K, rows, width), _block_of_rows)

  def output(count: int, width: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((count, K, rows, width), jnp.float32)

  S, P, C = (part.keys.shape[-1] for part in (prompts, answers, chunk))
  s, p = _block(S), _block(P)

  def prompt_block(n, j, scalars_ref, length_ref):
    return scalars_ref[0], n, jnp.minimum(j, _last_block(length_ref[n], s))

  o_PKrH, stats_PKrl = _call(
    functools.partial(_prompt_kernel, dtype=q_BNH.dtype),
    _Launch("decode_prompts", (Q, S // s), G * rows, _cost(q_PKrH, prompts), interpret),
    (scalars, cache.prompt_length_Q),
    [(q_PKrH, blocks(G, H)), *_blocked_cache(prompts, None, s, prompt_block)],
    [(output(Q * G, H), blocks(G, H)), (output(Q * G, LANES), blocks(G, LANES))],
  )

  def answer_block(n, j, scalars_ref, longest_ref, _):
    return scalars_ref[0], n, jnp.minimum(j, _last_block(longest_ref[n], p))

  def chunk_block(n, j, scalars_ref, *_):
    return scalars_ref[0], n, 0

  length_B = cache.answer_length_B
  cost = _cost(q_BKrH, answers, chunk)
  (o_BKrH,) = _call(
    functools.partial(
      _sample_kernel, answer_arrays=len(jax.tree.leaves(answers)), dtype=q_BNH.dtype
    ),
    _Launch("decode_samples", (B // tile, P // p), tile * rows, cost, interpret),
    (scalars, length_B.reshape(-1, tile).max(1), length_B),
    [
      (q_BKrH, blocks(tile, H)),
      (o_PKrH[flat_index_B], blocks(tile, H)),
      (stats_PKrl[flat_index_B], blocks(tile, LANES)),
      *_blocked_cache(answers, tile, p, answer_block),
      *_blocked_cache(chunk, tile, C, chunk_block),
    ],
    [(output(B, H), blocks(tile, H))],
  )
  return o_BKrH[:, :, :R].reshape(B, N, H).astype(q_BNH.dtype)
