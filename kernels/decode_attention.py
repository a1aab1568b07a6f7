"""Attention of one new token a sample, for TPUs: its group's prompt, its own answer, and its chunk.

Q prompts of G samples each (B = Q * G), N heads, K kv heads, R = N / K, H head size; S prompt
positions, P of an answer, C of the chunk that is being made, L layers. Decoding is bound by what it
reads: a prompt's keys and values go by once for its whole group, an answer's as far as the longest
of the group has come, and all parts end in one softmax. Arrays of all layers are read in place.
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


def decode_attention_ref(q_BNH, layer, prompts, length_Q, answers, age_B, chunk, at):
  """The definition: one softmax over a sample's three parts, laid end to end.

  Args:
    q_BNH: queries; samples of a prompt are neighbours.
    layer: i32[], which of the L.
    prompts, answers, chunk: Kept of Q prompts, of B answers and of B chunks.
    length_Q: i32, how many of the prompt's positions count, from the first on.
    age_B: i32, how many of the answer's do.
    at: i32[], the last of the chunk's that counts.

  Returns:
    [B, N, H] of q's dtype; sums are float32.
  """
  B, N, H = q_BNH.shape
  K = prompts.keys.shape[2]
  groups = B // len(length_Q)

  def plain(kept):
    keys, values = kept.keys[layer].astype(jnp.float32), kept.values[layer].astype(jnp.float32)
    if kept.key_scales is not None:
      keys *= kept.key_scales[layer][:, :, None]
      values *= kept.value_scales[layer][..., None]
    return keys, values

  seen = lambda x, count: jnp.arange(x.shape[-1])[None] < count[:, None]
  of_group = lambda x: jnp.repeat(x, groups, axis=0)
  keys, values = zip(*map(plain, (prompts, answers, chunk)), strict=True)
  keys, values = [(of_group(x[0]), *x[1:]) for x in (keys, values)]
  counts = of_group(length_Q), age_B, jnp.broadcast_to(at + 1, B)
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


def _kernel(
  now, length_Q, longest_Q, age_B, q_ref, *refs, groups, rows, parts, prompt_blocks, dtype
):
  """One prompt's block of positions, or one of its answers'. now: (layer, at).

  refs: keys, values and scales of `parts`: prompts [K, ...], answers and chunks [G, K, ...]; the
  output and three sums.
  """
  prompts, answers, chunk, (o_ref, *sums) = _split(refs, parts)
  n, j = pl.program_id(0), pl.program_id(1)
  K = q_ref.shape[0]
  add = functools.partial(_add, sums, dtype=dtype)

  def each_sample(kept, count):
    def one(g, _):
      place = pl.ds(pl.multiple_of(g * rows, rows), rows)
      for k in range(K):
        add((k, place), q_ref[k, place, :], kept, (g, k), count(n * groups + g))

    lax.fori_loop(0, groups, one, None)

  @pl.when(j == 0)
  def _():
    top_ref, *others = sums
    top_ref[...] = jnp.full_like(top_ref, LOWEST)
    for ref in others:
      ref[...] = jnp.zeros_like(ref)
    each_sample(chunk, lambda b: now[1] + 1)

  size = prompts[0].shape[-1]
  left = length_Q[n] - j * size

  @pl.when((j < prompt_blocks) & (left > 0))
  def _():
    for k in range(K):
      add((k, slice(None)), q_ref[k], prompts, (k,), left)

  size_own = answers[0].shape[-1]
  first = (j - prompt_blocks) * size_own

  @pl.when((j >= prompt_blocks) & (first < longest_Q[n]))
  def _():
    each_sample(answers, lambda b: age_B[b] - first)

  @pl.when(j == pl.num_programs(1) - 1)
  def _():
    o_ref[...] = sums[2][...] / sums[1][:, :, :1]


def _split(refs, parts):
  """(refs of each part, four to each, the rest); None where a part has no scales."""
  out, refs = [], list(refs)
  for scaled in parts:
    count = 4 if scaled else 2
    out.append((refs[:count] + [None, None])[:4])
    refs = refs[count:]
  return *out, refs


def _block(length):
  """Positions of a block; all of them where they are no whole blocks."""
  return BLOCK if length % BLOCK == 0 else length


def _held(given):
  """Bytes of VMEM that an input's blocks take, two at a time, in whole lanes."""
  x, spec = given
  sizes = [size for size in spec.block_shape if size is not None]
  return 2 * x.dtype.itemsize * math.prod([*sizes[:-1], -(-sizes[-1] // LANES) * LANES])


def _cost(q_QKMH, *parts):
  """Of one layer, all positions read: it is the most that there may be to do."""
  arrays = [x for kept in parts for x in kept if x is not None]
  positions = sum(kept.keys.size // (kept.keys.shape[0] * kept.keys.shape[3]) for kept in parts)
  rows = q_QKMH.shape[2] // (len(parts[1].keys[0]) // len(q_QKMH))
  H = q_QKMH.shape[-1]
  return pl.CostEstimate(
    flops=4 * positions * rows * H,
    transcendentals=positions * rows,
    bytes_accessed=sum(x.nbytes // len(x) for x in arrays) + 2 * q_QKMH.nbytes,
  )


def decode_attention(
  q_BNH, layer, prompts, length_Q, answers, age_B, chunk, at, *, interpret=False
):
  """Equal to `decode_attention_ref`, on a TPU. Products are made in q's dtype."""
  B, N, H = q_BNH.shape
  Q, K = len(length_Q), prompts.keys.shape[2]
  G, R = B // Q, N // K
  rows = -(-R // ROWS) * ROWS
  # [Q, K, G * rows, H]: a kv head's queries of all samples, each sample's on registers of its own.
  q_QGKRH = q_BNH.reshape(Q, G, K, R, H).astype(jnp.float32) * H**-0.5
  q_QGKRH = jnp.pad(q_QGKRH, ((0, 0),) * 3 + ((0, rows - R), (0, 0)))
  q_QKMH = q_QGKRH.swapaxes(1, 2).reshape(Q, K, G * rows, H)
  S, P, C = (kept.keys.shape[-1] for kept in (prompts, answers, chunk))
  s, p = _block(S), _block(P)
  longest_Q = age_B.reshape(Q, G).max(1)
  last = lambda count, size: jnp.maximum(lax.div(count + size - 1, size) - 1, 0)
  before = S // s

  def of_prompt(n, j, now, length_Q, *_):
    return now[0], n, jnp.minimum(j, last(length_Q[n], s))

  def of_answers(n, j, now, _, longest_Q, *__):
    return now[0], n, jnp.clip(j - before, 0, last(longest_Q[n], p))

  def of_chunk(n, j, now, *_):
    return now[0], n, 0

  inputs = [(q_QKMH, pl.BlockSpec((None, K, G * rows, H), lambda n, *_: (n, 0, 0, 0)))]
  for kept, count, size, place in (
    (prompts, None, s, of_prompt),
    (answers, G, p, of_answers),
    (chunk, G, C, of_chunk),
  ):
    along = lambda *a, place=place: (*(x := place(*a))[:2], 0, 0, x[2])
    down = lambda *a, place=place: (*(x := place(*a))[:2], 0, x[2], 0)
    inputs.append((kept.keys, pl.BlockSpec((None, count, K, H, size), along)))
    inputs.append((kept.values, pl.BlockSpec((None, count, K, size, H), down)))
    if kept.key_scales is not None:
      row = pl.BlockSpec((None, count, K, 1, size), along)
      inputs += [(x[..., None, :], row) for x in kept[2:]]
  sums = [(K, G * rows, LANES), (K, G * rows, LANES), (K, G * rows, H)]
  o_QKMH = pl.pallas_call(
    functools.partial(
      _kernel,
      groups=G,
      rows=rows,
      parts=[kept.key_scales is not None for kept in (prompts, answers, chunk)],
      prompt_blocks=before,
      dtype=q_BNH.dtype,
    ),
    out_shape=jax.ShapeDtypeStruct(q_QKMH.shape, jnp.float32),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=4,
      grid=(Q, before + P // p),
      in_specs=[spec for _, spec in inputs],
      out_specs=pl.BlockSpec((None, K, G * rows, H), lambda n, *_: (n, 0, 0, 0)),
      scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in sums],
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "arbitrary"),
      # No more than it needs: what it takes the compiler cannot use for weights to come.
      vmem_limit_bytes=SPARE + sum(map(_held, inputs)),
    ),
    cost_estimate=_cost(q_QKMH, prompts, answers, chunk),
    interpret=interpret,
    name="decode_attention",
  )(jnp.stack([layer, at]), length_Q, longest_Q, age_B, *[x for x, _ in inputs])
  o_QGKRH = o_QKMH.reshape(Q, K, G, rows, H).swapaxes(1, 2)[:, :, :, :R]
  return o_QGKRH.reshape(B, N, H).astype(q_BNH.dtype)
