"""Kernels of flash_attention for TPUs, forward and backward, over whole blocks of positions.

B sequences, T query positions, S key positions, N heads, K kv heads, R = N / K, H head size; blocks
have q queries or k keys. Scores are in base 2, as 2^x is the exponential that the chip computes.

Forward: a kv head's keys and values are in VMEM, and a block of queries goes through the blocks of
keys that it sees (the online softmax of arXiv:2205.14135). Backward, one kernel: scores are
recomputed once, transposed, [k, q], so that the four products that use them take their operands
without a transposition; the gradient of a head's queries, and of a kv head's keys and values, are
sums in VMEM.

Heads that do not fill the lanes are stored transposed, [H, q]: 80 numbers as rows take 80 cycles of
a matrix unit, while as columns they take the time of 128.
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

from cot_rm.kernels import block_mask, common
from cot_rm.kernels.common import LANES

VMEM = 100 << 20  # bytes that a kernel may take; the compiler's own limit is for small kernels
MASKED = -1e30  # score of a key that a query does not see
LOWEST = -1e29  # running maximum before the first score: far above MASKED
LOG2E = math.log2(math.e)

Segments = tuple[jax.Array, jax.Array]  # i32[B, T] of the queries, i32[B, S] of the keys
# (array or its shape, block shape, index map of the grid)
Operand = tuple[jax.Array | jax.ShapeDtypeStruct, tuple[int | None, ...], Callable[..., tuple]]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Static settings of one call."""

  causal: bool
  offset: int  # position of the first query, the first key's being 0
  interpret: bool | pltpu.InterpretParams  # see pallas_call


def _for_each_block(ranges_ref, row: jax.Array, block: Callable[[jax.Array, bool], None]) -> None:
  """Calls block(j, masked) for each needed block j of a row; `masked` is False for full blocks.

  ranges_ref: i32[4, rows], loop bounds from `block_mask.block_ranges`.
  """

  def loop(start: jax.Array, stop: jax.Array, masked: bool) -> None:
    def step(j: jax.Array, _: None) -> None:
      block(j, masked)

    lax.fori_loop(start, stop, step, None)

  loop(ranges_ref[0, row], ranges_ref[1, row], True)
  loop(ranges_ref[1, row], ranges_ref[2, row], False)
  loop(ranges_ref[2, row], ranges_ref[3, row], True)


def _column(row: jax.Array, width: int) -> jax.Array:
  """[1, n] to [n, width] of equal columns."""
  return jnp.broadcast_to(row, (width, row.shape[1])).T


def _widened(x: jax.Array, width: int) -> jax.Array:
  """[n, LANES] of equal columns to [n, width]."""
  return jnp.concatenate([x] * (width // LANES), axis=1) if width > LANES else x[:, :width]


def _masked(
  s: jax.Array, column: jax.Array, row: jax.Array, lead: jax.Array | None, *, query_axis: int
) -> jax.Array:
  """Scores in which every key that its query does not see is set to MASKED.

  Args:
    s: scores, [queries, keys] or [keys, queries].
    column: segment ids along the first axis of s, [n, LANES] of equal columns.
    row: segment ids along the second axis, [1, m].
    lead: position of the first query minus that of the first key; None: not causal.
    query_axis: axis of s that counts queries.
  """
  mask = _widened(column, s.shape[1]) == row
  if lead is not None:
    query = lax.broadcasted_iota(jnp.int32, s.shape, query_axis) + lead
    key = lax.broadcasted_iota(jnp.int32, s.shape, 1 - query_axis)
    mask &= query >= key
  return jnp.where(mask, s, MASKED)


def _forward_kernel(ranges_ref, *refs: jax.Ref, block_k: int, causal: bool, offset: int) -> None:
  """One block of queries of a head, with all the keys that it sees.

  Args:
    ranges_ref: see `_for_each_block`.
    refs: q [q, H], scaled; k and v [S, H]; segment ids of queries [1, q] and of keys [1, S]; the
      outputs o [q, H] and lse [1, q]; scratch: the weighted sum [q, H]; running maximum, total, and
      the queries' segment ids [q, LANES].
    block_k: keys of a block.
    causal: see `Settings`.
    offset: see `Settings`.
  """
  q_ref, k_ref, v_ref, q_segments_ref, k_segments_ref, o_ref, lse_ref, *scratch = refs
  sum_ref, max_ref, total_ref, column_ref = scratch
  b, i = pl.program_id(0), pl.program_id(3)
  block_q = q_ref.shape[0]
  max_ref[...] = jnp.full_like(max_ref, LOWEST)
  total_ref[...] = jnp.zeros_like(total_ref)
  sum_ref[...] = jnp.zeros_like(sum_ref)
  column_ref[...] = _column(q_segments_ref[...], LANES)

  def block(j: jax.Array, masked: bool) -> None:
    keys = pl.ds(pl.multiple_of(j * block_k, block_k), block_k)
    s = common.matmul(q_ref[...], k_ref[keys, :], common.NT)
    if masked:
      lead = i * block_q + offset - j * block_k if causal else None
      s = _masked(s, column_ref[...], k_segments_ref[:, keys], lead, query_axis=0)
    before = max_ref[...]
    highest = jnp.maximum(before, s.max(1, keepdims=True))
    p = jnp.exp2(s - _widened(highest, block_k))
    fade = jnp.exp2(before - highest)
    # Each lane has its own total; they are added up once, at the end.
    total = functools.reduce(jnp.add, [p[:, c : c + LANES] for c in range(0, block_k, LANES)])
    max_ref[...], total_ref[...] = highest, total_ref[...] * fade + total
    new = common.matmul(p.astype(v_ref.dtype), v_ref[keys, :])
    sum_ref[...] = sum_ref[...] * _widened(fade, sum_ref.shape[1]) + new

  _for_each_block(ranges_ref, b * pl.num_programs(3) + i, block)
  total = total_ref[...].sum(1, keepdims=True)
  # A power of 2 is one instruction, a quotient is ten.
  log, seen = jnp.log2(total), total > 0
  o_ref[...] = (sum_ref[...] * jnp.where(seen, jnp.exp2(-log), 0.0)).astype(o_ref.dtype)
  lse_ref[...] = (max_ref[...] + log).T[:1]  # -inf for a query that sees no key


def _backward_kernel(
  ranges_ref, *refs: jax.Ref, block_q: int, causal: bool, offset: int, transposed: bool
) -> None:
  """One block of keys, with all queries of a head that see it.

  Args:
    ranges_ref: see `_for_each_block`.
    refs: q [T, H], scaled; k [k, H], and transposed [H, k]; v [k, H]; do [T, H]; lse and delta
      [1, T]; segment ids of queries [1, T] and of keys [1, k]; the outputs dq [H, T], dk and dv
      [k, H]; scratch: float32 sums of dq [H, T], dk and dv [S, H]; the keys' segment ids
      [k, LANES].
    block_q: queries of a block.
    causal: see `Settings`.
    offset: see `Settings`.
    transposed: q, do, dk, dv and the sums of dk and dv have the head size first.
  """
  q_ref, k_ref, kt_ref, v_ref, do_ref, lse_ref, delta_ref, q_segments_ref, *refs = refs
  k_segments_ref, dq_ref, dk_ref, dv_ref, dq_sum_ref, dk_sum_ref, dv_sum_ref, column_ref = refs
  b, r, j = pl.program_id(0), pl.program_id(2), pl.program_id(3)
  block_k = k_ref.shape[0]

  def index(positions: pl.Slice) -> tuple[slice | pl.Slice, slice | pl.Slice]:
    return (slice(None), positions) if transposed else (positions, slice(None))

  def scores(keys: jax.Array, queries: jax.Array) -> jax.Array:
    return common.matmul(keys, queries, common.NN if transposed else common.NT)

  def key_gradient(p: jax.Array, x: jax.Array) -> jax.Array:
    return common.matmul(x, p, common.NT) if transposed else common.matmul(p, x)

  here = index(pl.ds(pl.multiple_of(j * block_k, block_k), block_k))

  @pl.when(j == 0)
  def _begin_head():
    dq_sum_ref[...] = jnp.zeros_like(dq_sum_ref)

  @pl.when(r == 0)
  def _begin_kv_head():
    for total_ref, part_ref in ((dk_sum_ref, dk_ref), (dv_sum_ref, dv_ref)):
      total_ref[here] = jnp.zeros(part_ref.shape, jnp.float32)

  column_ref[...] = _column(k_segments_ref[...], LANES)

  def block(i: jax.Array, masked: bool) -> None:
    rows = pl.ds(pl.multiple_of(i * block_q, block_q), block_q)
    q, do = q_ref[index(rows)], do_ref[index(rows)]
    s = scores(k_ref[...], q)
    if masked:
      lead = i * block_q + offset - j * block_k if causal else None
      s = _masked(s, column_ref[...], q_segments_ref[:, rows], lead, query_axis=1)
    p = jnp.exp2(s - lse_ref[:, rows])
    dv_sum_ref[here] += key_gradient(p.astype(do.dtype), do)
    ds = (p * (scores(v_ref[...], do) - delta_ref[:, rows])).astype(q.dtype)
    dk_sum_ref[here] += key_gradient(ds, q)
    dq_sum_ref[:, rows] += common.matmul(kt_ref[...], ds)

  _for_each_block(ranges_ref, b * pl.num_programs(3) + j, block)

  @pl.when(j == pl.num_programs(3) - 1)
  def _end_head():
    dq_ref[...] = (dq_sum_ref[...] * dq_ref.shape[0] ** -0.5).astype(dq_ref.dtype)

  @pl.when(r == pl.num_programs(2) - 1)
  def _end_kv_head():
    dk_ref[...] = (dk_sum_ref[here] / LOG2E).astype(dk_ref.dtype)
    dv_ref[...] = dv_sum_ref[here].astype(dv_ref.dtype)


@dataclasses.dataclass(frozen=True)
class _Launch:
  """Static settings of a pallas_call."""

  name: str
  grid: tuple[int, int, int, int]  # [B, K, R, blocks]
  interpret: bool | pltpu.InterpretParams


def _specs(operands: Sequence[Operand]) -> list[pl.BlockSpec]:
  return [pl.BlockSpec(block, index) for _, block, index in operands]


def _call(
  kernel: Callable[..., None],
  launch: _Launch,
  ranges: jax.Array,
  inputs: Sequence[Operand],
  outputs: Sequence[Operand],
  scratch: Sequence[pl.MemoryRef],
) -> list[jax.Array]:
  """Runs a kernel; returns its outputs.

  Args:
    kernel: the body.
    launch: static settings.
    ranges: i32[4, rows], loop bounds from `block_mask.block_ranges`, prefetched as scalars.
    inputs: arrays with their block shapes and index maps.
    outputs: the same with shapes instead of arrays.
    scratch: VMEM buffers.
  """
  return pl.pallas_call(
    kernel,
    out_shape=[shape for shape, _, _ in outputs],
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=1,
      grid=launch.grid,
      in_specs=_specs(inputs),
      out_specs=_specs(outputs),
      scratch_shapes=scratch,
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary"),
      vmem_limit_bytes=VMEM,
    ),
    interpret=launch.interpret,
    name=launch.name,
  )(ranges, *[x for x, _, _ in inputs])


def _block_of_row(b, g, r, j, _):
  """Index map of [B, 1, positions]: the block of the grid's last axis."""
  return b, 0, j


def _whole_row(b, g, r, j, _):
  """Index map of [B, 1, positions]: all positions."""
  return b, 0, 0


def forward(
  qkv: tuple[jax.Array, jax.Array, jax.Array],
  segments: Segments,
  mask: block_mask.BlockMask,
  settings: Settings,
) -> tuple[jax.Array, jax.Array]:
  """(o_BNTH, lse_BN1T in base 2) of (q_BNTH scaled, k_BKSH, v_BKSH), all whole blocks."""
  q_BNTH, k_BKSH, v_BKSH = qkv
  B, N, T, H = q_BNTH.shape
  K, S = k_BKSH.shape[1:3]
  R, q, k = N // K, T // mask.needed.shape[1], S // mask.needed.shape[2]

  def queries(b, g, r, i, _):
    return b, g * R + r, i, 0

  def kv_head(b, g, r, i, _):
    return b, g, 0, 0

  def log_sum(b, g, r, i, _):
    return b, g * R + r, 0, i

  inputs = [
    (q_BNTH, (None, None, q, H), queries),
    (k_BKSH, (None, None, S, H), kv_head),
    (v_BKSH, (None, None, S, H), kv_head),
    (segments[0][:, None], (None, 1, q), _block_of_row),
    (segments[1][:, None], (None, 1, S), _whole_row),
  ]
  outputs = [
    (jax.ShapeDtypeStruct(q_BNTH.shape, q_BNTH.dtype), (None, None, q, H), queries),
    (jax.ShapeDtypeStruct((B, N, 1, T), jnp.float32), (None, None, 1, q), log_sum),
  ]
  scratch = [
    pltpu.VMEM((q, H), jnp.float32),
    *[pltpu.VMEM((q, LANES), dtype) for dtype in (jnp.float32, jnp.float32, jnp.int32)],
  ]
  kernel = functools.partial(
    _forward_kernel, block_k=k, causal=settings.causal, offset=settings.offset
  )
  launch = _Launch("flash_forward", (B, K, R, T // q), settings.interpret)
  ranges = block_mask.block_ranges(mask)
  o_BNTH, lse_BN1T = _call(kernel, launch, ranges, inputs, outputs, scratch)
  return o_BNTH, lse_BN1T


class QueryRows(NamedTuple):
  """Arrays of the queries that the backward pass reads."""

  q_BNTH: jax.Array  # scaled
  do_BNTH: jax.Array  # gradient of the output
  lse_BN1T: jax.Array  # in base 2
  delta_BN1T: jax.Array  # do . o, less the gradient of lse


def backward(
  rows: QueryRows,
  k_BKSH: jax.Array,
  v_BKSH: jax.Array,
  segments: Segments,
  mask: block_mask.BlockMask,
  settings: Settings,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(dq_BNTH, dk_BKSH, dv_BKSH); dq is the gradient of the queries before scaling."""
  q_BNTH, do_BNTH, lse_BN1T, delta_BN1T = rows
  B, N, T, H = q_BNTH.shape
  K, S = k_BKSH.shape[1:3]
  R, q, k = N // K, T // mask.needed.shape[1], S // mask.needed.shape[2]
  transposed = H % LANES > 0

  def turned(x: jax.Array) -> jax.Array:
    return x.swapaxes(2, 3) if transposed else x

  def ordered(positions, numbers):
    return (numbers, positions) if transposed else (positions, numbers)

  def head(b, g, r, j, _):
    return b, g * R + r, 0, 0

  def keys(b, g, r, j, _):
    return b, g, j, 0

  def keys_transposed(b, g, r, j, _):
    return b, g, 0, j

  def key_sums(b, g, r, j, _):
    # A kv head's sums are written with its last head; until then one block stays in place.
    return b, g, *ordered(jnp.where(r == R - 1, j, 0), 0)

  query_block, row_block = (None, None, *ordered(T, H)), (None, None, 1, T)
  inputs = [
    (turned(q_BNTH), query_block, head),
    (k_BKSH, (None, None, k, H), keys),
    (k_BKSH.swapaxes(2, 3), (None, None, H, k), keys_transposed),
    (v_BKSH, (None, None, k, H), keys),
    (turned(do_BNTH), query_block, head),
    (lse_BN1T, row_block, head),
    (delta_BN1T, row_block, head),
    (segments[0][:, None], (None, 1, T), _whole_row),
    (segments[1][:, None], (None, 1, k), _block_of_row),
  ]
  sums = jax.ShapeDtypeStruct((B, K, *ordered(S, H)), k_BKSH.dtype)
  outputs = [
    (jax.ShapeDtypeStruct((B, N, H, T), q_BNTH.dtype), (None, None, H, T), head),
    *[(sums, (None, None, *ordered(k, H)), key_sums)] * 2,
  ]
  scratch = [
    pltpu.VMEM((H, T), jnp.float32),
    *[pltpu.VMEM(ordered(S, H), jnp.float32)] * 2,
    pltpu.VMEM((k, LANES), jnp.int32),
  ]
  kernel = functools.partial(
    _backward_kernel,
    block_q=q,
    causal=settings.causal,
    offset=settings.offset,
    transposed=transposed,
  )
  by_keys = block_mask.BlockMask(*(x.swapaxes(1, 2) for x in mask))
  launch = _Launch("flash_backward", (B, K, R, S // k), settings.interpret)
  ranges = block_mask.block_ranges(by_keys)
  dq_BNHT, dk, dv = _call(kernel, launch, ranges, inputs, outputs, scratch)
  return dq_BNHT.swapaxes(2, 3), turned(dk), turned(dv)
