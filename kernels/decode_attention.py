"""Attention of one new token a sample, for TPUs: its prompt, its own answer, and its chunk.

B samples, Q prompts, G places at each for samples of it; N heads, K kv heads, R = N / K, H head
size; S prompt positions, P of an answer, C of the chunk that is being made, L layers. Decoding is
bound by what it reads: a prompt's keys and values go by once for all at its places, an answer's as
far as the longest of its tile has come, and all parts end in one softmax. One kernel goes over the
prompts and hands its sums on to another, over the samples, which begins with them: who sits where
changes between two tokens. Arrays of all layers are read in place.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import products

BLOCK = 512  # positions at a time
LANES = 128
SPARE = 6 << 20  # bytes of VMEM beside the blocks
ROWS = 8  # of a register: a sample's heads of a kv head are padded to them
MASKED = -1e30
LOWEST = -1e29  # where a row's highest score begins
TILE = 8  # samples at a time, at most
SMALL = 32 << 20  # bytes of a stack of layers


class Kept(NamedTuple):
  """Keys [L, rows, K, H, T] and values [L, rows, K, T, H]; of int8 with their scales."""

  keys: jax.Array
  values: jax.Array
  key_scales: jax.Array | None = None  # f32[L, rows, K, T]
  value_scales: jax.Array | None = None


def int8(keys, values):
  """Kept in int8: each position of each kv head by its largest number, which becomes 127."""

  def one(x, axis):
    scale = jnp.maximum(jnp.abs(x).max(axis, keepdims=True).astype(jnp.float32) / 127, 1e-30)
    return jnp.round(x.astype(jnp.float32) / scale).astype(jnp.int8), scale.squeeze(axis)

  (keys, key_scales), (values, value_scales) = one(keys, -2), one(values, -1)
  return Kept(keys, values, key_scales, value_scales)


def decode_attention_ref(
  q_BNH, layer, prompts, length_Q, answers, age_B, chunk, at, sample_QG, place_B
):
  """The definition: one softmax over a sample's three parts, laid end to end.

  Args:
    q_BNH: queries.
    layer: i32[], which of the L.
    prompts, answers, chunk: Kept of Q prompts, of B answers and of B chunks.
    length_Q: i32, how many of the prompt's positions count, from the first on.
    age_B: i32, how many of the answer's do.
    at: i32[], the last of the chunk's that counts.
    sample_QG: i32, which sample is at a place; B or more: none.
    place_B: i32, the place of a sample, q * G + g. That of one that counts is its own.

  Returns:
    [B, N, H] of q's dtype; sums are float32.
  """
  B, N, H = q_BNH.shape
  K = prompts.keys.shape[2]
  prompt_B = place_B // sample_QG.shape[1]

  def plain(kept):
    keys, values = kept.keys[layer].astype(jnp.float32), kept.values[layer].astype(jnp.float32)
    if kept.key_scales is not None:
      keys *= kept.key_scales[layer][:, :, None]
      values *= kept.value_scales[layer][..., None]
    return keys, values

  seen = lambda x, count: jnp.arange(x.shape[-1])[None] < count[:, None]
  keys, values = zip(*map(plain, (prompts, answers, chunk)), strict=True)
  keys, values = [(x[0][prompt_B], *x[1:]) for x in (keys, values)]
  counts = length_Q[prompt_B], age_B, jnp.broadcast_to(at + 1, B)
  mask_BS = jnp.concatenate([seen(k, n) for k, n in zip(keys, counts, strict=True)], -1)
  q_BKRH = q_BNH.reshape(B, K, N // K, H).astype(jnp.float32)
  s_BKRS = jnp.einsum("BKRH,BKHS->BKRS", q_BKRH, jnp.concatenate(keys, -1)) * H**-0.5
  p_BKRS = jax.nn.softmax(jnp.where(mask_BS[:, None, None], s_BKRS, -jnp.inf), axis=-1)
  o_BKRH = jnp.einsum("BKRS,BKSH->BKRH", p_BKRS, jnp.concatenate(values, -2))
  return o_BKRH.reshape(B, N, H).astype(q_BNH.dtype)


def _add(sums, at, q, kept, place, count, dtype):
  """Adds a block of positions to the softmax of some rows.

  Args:
    sums: refs of the highest scores, of totals [K, rows, LANES] and of outputs [K, rows, H].
    at: (kv head, which rows).
    q: [rows, H], scaled.
    kept: refs of keys, values, and their scales or None; place: this block in them.
    count: how many of the positions count.
  """
  top_ref, total_ref, out_ref = sums
  keys, values, key_scales, value_scales = kept
  s = products.dot(q.astype(dtype), keys[place].astype(dtype))
  if key_scales is not None:
    s *= key_scales[place]
  s = jnp.where(lax.broadcasted_iota(jnp.int32, s.shape, 1) < count, s, MASKED)
  before = top_ref[at]
  top = jnp.maximum(before, s.max(1, keepdims=True))
  p, fade = jnp.exp(s - top[:, :1]), jnp.exp(before - top)
  total_ref[at] = total_ref[at] * fade + p.sum(1, keepdims=True)
  if value_scales is not None:
    p *= value_scales[place]
  out_ref[at] = out_ref[at] * fade[:, :1] + products.dot(
    p.astype(dtype), values[place].astype(dtype)
  )
  top_ref[at] = top


def _prompt_kernel(now, length_Q, q_ref, *refs, scaled, dtype):
  """A prompt's block of positions and all at its places. now: (layer, at).

  q_ref: [G, K, rows, H]. refs: keys, values and scales [K, ...]; outputs: sums [G, K, rows, H], and
  of each row its highest score and its total, half of the lanes each; three sums.
  """
  (kept,), (o_ref, told_ref, *sums) = _split(refs, [scaled])
  n, j = pl.program_id(0), pl.program_id(1)
  G, K, rows, H = q_ref.shape
  left = length_Q[n] - j * kept[0].shape[-1]

  @pl.when(j == 0)
  def _():
    top_ref, *others = sums
    top_ref[...] = jnp.full_like(top_ref, LOWEST)
    for ref in others:
      ref[...] = jnp.zeros_like(ref)

  @pl.when(left > 0)
  def _():
    for k in range(K):
      q = q_ref[:, k].reshape(G * rows, H)
      _add(sums, (k, slice(None)), q, kept, (k,), left, dtype)

  @pl.when(j == pl.num_programs(1) - 1)
  def _():
    top_ref, total_ref, out_ref = sums
    half = lax.broadcasted_iota(jnp.int32, top_ref.shape[1:], 1) < LANES // 2
    for k in range(K):
      o_ref[:, k] = out_ref[k].reshape(G, rows, H)
      told_ref[:, k] = jnp.where(half, top_ref[k], total_ref[k]).reshape(G, rows, LANES)


def _sample_kernel(now, longest_T, age_B, q_ref, o_ref, told_ref, *refs, scaled, dtype):
  """A tile of samples and a block of their answers, behind what `_prompt_kernel` found for them.

  q_ref: [tile, K, rows, H]. refs: keys, values and scales of answers and of chunks [tile, K, ...];
  the output and three sums.
  """
  (answers, chunk), (out_ref, *sums) = _split(refs, scaled)
  n, j = pl.program_id(0), pl.program_id(1)
  tile, K, rows, _ = q_ref.shape

  def each(do):
    def one(b, _):
      place = pl.ds(pl.multiple_of(b * rows, rows), rows)
      for k in range(K):
        do(b, k, (k, place))

    lax.fori_loop(0, tile, one, None)

  @pl.when(j == 0)
  def _():
    def begin(b, k, at):
      told = told_ref[b, k]
      sums[0][at] = jnp.broadcast_to(told[:, :1], (rows, LANES))
      sums[1][at] = jnp.broadcast_to(told[:, LANES // 2 : LANES // 2 + 1], (rows, LANES))
      sums[2][at] = o_ref[b, k]
      _add(sums, at, q_ref[b, k], chunk, (b, k), now[1] + 1, dtype)

    each(begin)

  first = j * answers[0].shape[-1]

  @pl.when(first < longest_T[n])
  def _():
    each(
      lambda b, k, at: _add(
        sums, at, q_ref[b, k], answers, (b, k), age_B[n * tile + b] - first, dtype
      )
    )

  @pl.when(j == pl.num_programs(1) - 1)
  def _():
    def end(b, k, at):
      out_ref[b, k] = sums[2][at] / sums[1][at][:, :1]

    each(end)


def _split(refs, scaled):
  """([refs of each part, four to each], the rest); None where a part has no scales."""
  out, refs = [], list(refs)
  for one in scaled:
    count = 4 if one else 2
    out.append((refs[:count] + [None, None])[:4])
    refs = refs[count:]
  return out, refs


def _block(length):
  """Positions of a block; all of them where they are no whole blocks."""
  return BLOCK if length % BLOCK == 0 else length


def _bytes(given):
  """Bytes of VMEM that an array's blocks take, two at a time, in whole lanes."""
  x, spec = given
  sizes = [size for size in spec.block_shape if size is not None]
  return 2 * x.dtype.itemsize * math.prod([*sizes[:-1], -(-sizes[-1] // LANES) * LANES])


def _kept(kept, count, size, place):
  """(array, BlockSpec) of a part's keys, values and scales: `count` rows, `size` positions.

  place: of a step of the grid: (layer, which rows, which positions), in blocks.
  """
  *_, K, H, _ = kept.keys.shape
  along = lambda *a: (*(x := place(*a))[:2], 0, 0, x[2])
  down = lambda *a: (*(x := place(*a))[:2], 0, x[2], 0)
  out = [
    (kept.keys, pl.BlockSpec((None, count, K, H, size), along)),
    (kept.values, pl.BlockSpec((None, count, K, size, H), down)),
  ]
  if kept.key_scales is not None:
    row = pl.BlockSpec((None, count, K, 1, size), along)
    out += [(x[..., None, :], row) for x in kept[2:]]
  return out


def _in_hbm(x):
  """A stack of all layers where a kernel is to read it.

  Else one that just fits VMEM is copied there whole at each layer, for the one that is read. A
  small one the compiler may keep in VMEM for all layers, and would have to copy out.
  """
  return pltpu.with_memory_space_constraint(x, pltpu.HBM) if x.nbytes > SMALL else x


def _cost(q, *parts):
  """Of one layer, all positions read: it is the most that there may be to do."""
  arrays = [x for kept in parts for x in kept if x is not None]
  rows, H = q.size // q.shape[-1], q.shape[-1]  # those of a part are shared by all that it has
  pairs = sum(rows * kept.keys.shape[-1] for kept in parts)
  return pl.CostEstimate(
    flops=4 * pairs * H,
    transcendentals=pairs,
    bytes_accessed=sum(x.nbytes // x.shape[0] for x in arrays) + 2 * q.nbytes,
  )


def _call(kernel, name, grid, scalars, given, out, rows, cost, interpret):
  """A pallas_call; given: (array, BlockSpec) a part, out: (shape, BlockSpec); rows: of the sums."""
  K, H = given[0][0].shape[1], given[0][0].shape[-1]
  sums = [(K, rows, LANES), (K, rows, LANES), (K, rows, H)]
  return pl.pallas_call(
    kernel,
    out_shape=[x for x, _ in out],
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=len(scalars),
      grid=grid,
      in_specs=[spec for _, spec in given],
      out_specs=[spec for _, spec in out],
      scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in sums],
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"),
      # No more than it needs: what it takes the compiler cannot use for weights to come.
      vmem_limit_bytes=SPARE + sum(map(_bytes, [*given, *out])),
    ),
    cost_estimate=cost,
    interpret=interpret,
    name=name,
  )(*scalars, *[x for x, _ in given])


def decode_attention(
  q_BNH, layer, prompts, length_Q, answers, age_B, chunk, at, sample_QG, place_B, *,
  interpret=False,
):  # fmt: skip
  """Equal to `decode_attention_ref`, on a TPU. Products are made in q's dtype."""
  B, N, H = q_BNH.shape
  (Q, G), K = sample_QG.shape, prompts.keys.shape[2]
  R, tile = N // K, math.gcd(B, TILE)
  rows = -(-R // ROWS) * ROWS
  now = jnp.stack([layer, at])
  if not interpret:
    prompts, answers, chunk = jax.tree.map(_in_hbm, (prompts, answers, chunk))
  # A kv head's queries of a sample on registers of their own.
  q_BKrH = q_BNH.reshape(B, K, R, H).astype(jnp.float32) * H**-0.5
  q_BKrH = jnp.pad(q_BKrH, ((0, 0), (0, 0), (0, rows - R), (0, 0)))
  q_PKrH = q_BKrH.at[sample_QG.reshape(-1)].get(mode="fill", fill_value=0)
  mine = lambda count, width: pl.BlockSpec((count, K, rows, width), lambda n, *_: (n, 0, 0, 0))
  found = lambda count, width: jax.ShapeDtypeStruct((count, K, rows, width), jnp.float32)
  call = functools.partial(_call, interpret=interpret)
  last = lambda count, size: jnp.maximum(lax.div(count + size - 1, size) - 1, 0)

  S, P, C = (kept.keys.shape[-1] for kept in (prompts, answers, chunk))
  s, p = _block(S), _block(P)
  of_prompt = lambda n, j, now, length_Q: (now[0], n, jnp.minimum(j, last(length_Q[n], s)))
  o_PKrH, told_PKrl = call(
    functools.partial(_prompt_kernel, scaled=prompts.key_scales is not None, dtype=q_BNH.dtype),
    "decode_prompts",
    (Q, S // s),
    (now, length_Q),
    [(q_PKrH, mine(G, H)), *_kept(prompts, None, s, of_prompt)],
    [(found(Q * G, H), mine(G, H)), (found(Q * G, LANES), mine(G, LANES))],
    G * rows,
    _cost(q_PKrH, prompts),
  )
  longest_T = age_B.reshape(-1, tile).max(1)
  of_answers = lambda n, j, now, longest_T, _: (now[0], n, jnp.minimum(j, last(longest_T[n], p)))
  of_chunk = lambda n, j, now, *_: (now[0], n, 0)
  (o_BKrH,) = call(
    functools.partial(
      _sample_kernel,
      scaled=[kept.key_scales is not None for kept in (answers, chunk)],
      dtype=q_BNH.dtype,
    ),
    "decode_samples",
    (B // tile, P // p),
    (now, longest_T, age_B),
    [
      (q_BKrH, mine(tile, H)),
      (o_PKrH[place_B], mine(tile, H)),
      (told_PKrl[place_B], mine(tile, LANES)),
      *_kept(answers, tile, p, of_answers),
      *_kept(chunk, tile, C, of_chunk),
    ],
    [(found(B, H), mine(tile, H))],
    tile * rows,
    _cost(q_BKrH, answers, chunk),
  )
  return o_BKrH[:, :, :R].reshape(B, N, H).astype(q_BNH.dtype)
