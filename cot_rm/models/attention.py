"""Grouped-query attention for training, prefill and decoding.

B batch, T query positions, S key positions, N heads, K kv heads, R = N / K, H head size, Q prompts,
G samples of a prompt.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cot_rm import sharding
from cot_rm.kernels import decode_attention as decode_kernel
from cot_rm.kernels import decode_cache, flash_attention
from cot_rm.models import kv_cache, layers
from cot_rm.models.kv_cache import KV_AXES, KeysValues

# Low enough to vanish in a softmax; finite, so that a query that sees no key does not give NaN.
MASKED = -1e30


class Assignment(NamedTuple):
  """Sample-to-prompt assignment: B samples, Q prompts with G group indices each.

  Where rows are sharded over devices the numbers count within a device's shard, and a sample can
  only be assigned to a prompt of its shard.
  """

  sample_QG: jax.Array  # i32: the sample at each group index of a prompt; B or more: none
  flat_index_B: jax.Array  # i32: q * G + g of each sample; arbitrary for an inactive one


class DecodeContext(NamedTuple):
  """The KV cache before the current chunk: prompts and whole chunks of answers.

  Keys and values are those of one layer, stacks of layers, or lists with an entry per layer: see
  layers.scan_in_place.
  """

  prompts: KeysValues | list[KeysValues]  # of Q prompts
  prompt_mask_QS: jax.Array  # bool: the filled prompt positions, the first ones
  # Parts of P positions each, one after the other; on a TPU one part.
  answers: list[KeysValues] | list[list[KeysValues]]
  answer_length_B: jax.Array  # i32: number of filled answer positions, the first ones
  assignment: Assignment | None  # None: sample q * G + g belongs to prompt q


def _scores(q_BTNH: jax.Array, k_BSKH: jax.Array) -> jax.Array:
  """Scaled products of each query with the keys of its kv head, f32[B, K, R, T, S]."""
  B, T, N, H = q_BTNH.shape
  q_BTKRH = q_BTNH.reshape(B, T, k_BSKH.shape[2], -1, H)
  return (
    jnp.einsum("BTKRH,BSKH->BKRTS", q_BTKRH, k_BSKH, preferred_element_type=jnp.float32) * H**-0.5
  )


def _weighted_values(p_BKRTS: jax.Array, v_BSKH: jax.Array) -> jax.Array:
  """Values weighted by attention, [B, T, N * H]."""
  o_BTKRH = jnp.einsum("BKRTS,BSKH->BTKRH", p_BKRTS.astype(v_BSKH.dtype), v_BSKH)
  return o_BTKRH.reshape(*o_BTKRH.shape[:2], -1)


def attention(
  q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, mask_BTS: jax.Array
) -> jax.Array:
  """Grouped-query attention with the softmax in float32, [B, T, N * H].

  A query whose mask is empty gets the mean of the values: finite, and without meaning.
  """
  s_BKRTS = jnp.where(mask_BTS[:, None, None], _scores(q_BTNH, k_BSKH), MASKED)
  return _weighted_values(jax.nn.softmax(s_BKRTS, axis=-1), v_BSKH)


def segment_attention(
  q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, segments_BT: jax.Array, *, causal: bool
) -> jax.Array:
  """`attention` within segments, [B, T, N * H]; on a TPU by the kernel of flash attention.

  Args:
    q_BTNH: queries.
    k_BTKH: keys.
    v_BTKH: values.
    segments_BT: i32, segment ids; a query sees keys of its own segment.
    causal: whether a query sees no later key.
  """
  if sharding.platform() != "tpu":
    mask_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    if causal:
      mask_BTT &= np.tri(segments_BT.shape[1], dtype=bool)[None]
    return attention(q_BTNH, k_BTKH, v_BTKH, mask_BTT)

  def shard(q_BTNH, k_BTKH, v_BTKH, segments_BT):
    return flash_attention.flash_attention(
      q_BTNH, k_BTKH, v_BTKH, segments_BT, segments_BT, causal=causal
    )[0]

  o_BTNH = sharding.shard_map_logical(
    shard,
    (q_BTNH, ("batch", None, "heads", None)),
    (k_BTKH, ("batch", None, "kv_heads", None)),
    (v_BTKH, ("batch", None, "kv_heads", None)),
    (segments_BT, ("batch", None)),
  )
  return o_BTNH.reshape(*o_BTNH.shape[:2], -1)


def shared_attention(
  q_BTNH: jax.Array,
  prompts: KeysValues,
  mask_QS: jax.Array,
  *own_parts: tuple[jax.Array, jax.Array, jax.Array],
  assignment: Assignment | None = None,
) -> jax.Array:
  """Attention to a prompt, cached once for all its samples, and to each sample's own positions.

  Args:
    q_BTNH: queries.
    prompts: keys [Q, K, H, S] and values [Q, K, S, H].
    mask_QS: bool, the prompt positions that are not padding.
    own_parts: a sample's own positions in order, in parts: keys [B, K, H, S'], values
      [B, K, S', H], and mask_BTS', the positions that each query sees.
    assignment: sample-to-prompt assignment; None: sample q * G + g belongs to prompt q.

  Returns:
    [B, T, N * H]; equal to `attention` over the concatenation of all parts.
  """
  B, T, N, H = q_BTNH.shape
  Q, K, _, S = prompts[0].shape
  G = B // Q if assignment is None else assignment.sample_QG.shape[1]
  M = T * (N // K)  # queries of a sample and kv head

  # The queries of all samples of a prompt are neighbours, so that one product serves them.
  def by_prompt(x_BKMH):
    x_PKMH = x_BKMH if assignment is None else _gathered(x_BKMH, assignment.sample_QG.reshape(-1))
    return x_PKMH.reshape(Q, G, K, M, -1).swapaxes(1, 2).reshape(Q, K, G * M, -1)

  def by_sample(x):
    x_PKMH = x.reshape(Q, K, G, M, -1).swapaxes(1, 2).reshape(Q * G, K, M, -1)
    return x_PKMH if assignment is None else _gathered(x_PKMH, assignment.flat_index_B)

  q_BKMH = q_BTNH.reshape(B, T, K, -1, H).swapaxes(1, 2).reshape(B, K, M, H)
  mask_Q11S = mask_QS[:, None, None]
  prompt_scores = _cached_scores(by_prompt(q_BKMH), prompts[0])
  scores = [by_sample(jnp.where(mask_Q11S, prompt_scores, MASKED))]
  for keys, _, mask_BTS in own_parts:
    mask_BMS = jnp.repeat(mask_BTS, N // K, axis=1)
    scores.append(jnp.where(mask_BMS[:, None], _cached_scores(q_BKMH, keys), MASKED))
  # Each part is summed alone, then the sums in order: a part that a row does not see adds an exact
  # 0, so that the row is the same bit for bit without that part.
  highest = functools.reduce(jnp.maximum, [s.max(-1, keepdims=True) for s in scores])
  highest = jax.lax.stop_gradient(highest)  # it cancels in the quotient
  weights = [jnp.exp(s - highest) for s in scores]
  o_BKMH = by_sample(_cached_mix(by_prompt(weights[0]), prompts[1]))
  total = weights[0].sum(-1, keepdims=True)
  for (_, values, _), weight in zip(own_parts, weights[1:], strict=True):
    o_BKMH, total = o_BKMH + _cached_mix(weight, values), total + weight.sum(-1, keepdims=True)
  o_BKMH = (o_BKMH / total).astype(q_BTNH.dtype)
  return o_BKMH.reshape(B, K, T, -1, H).swapaxes(1, 2).reshape(B, T, -1)


def _cached_scores(q_BKMH: jax.Array, k_BKHS: jax.Array) -> jax.Array:
  """Scaled products of queries with cached keys, f32[B, K, M, S]."""
  scale = q_BKMH.shape[-1] ** -0.5
  return jnp.einsum("BKMH,BKHS->BKMS", q_BKMH, k_BKHS, preferred_element_type=jnp.float32) * scale


def _cached_mix(p_BKMS: jax.Array, v_BKSH: jax.Array) -> jax.Array:
  """Cached values weighted by attention, f32[B, K, M, H]."""
  return jnp.einsum(
    "BKMS,BKSH->BKMH", p_BKMS.astype(v_BKSH.dtype), v_BKSH, preferred_element_type=jnp.float32
  )


def _gathered(x_BKMH: jax.Array, row_P: jax.Array) -> jax.Array:
  """x[row_P], zeros for rows that do not exist; each device within its own shard."""
  take = functools.partial(jnp.take, axis=0, mode="fill", fill_value=0)
  return sharding.shard_map_logical(take, (x_BKMH, KV_AXES), (row_P, ("batch",)))


def extended_attention(
  q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, prompts: KeysValues, mask_QS: jax.Array
) -> jax.Array:
  """Causal attention of rows that continue their group's prompt, [B, T, N * H].

  Equal to `shared_attention`. On a TPU flash attention runs twice, over the prompt with a group's
  queries one after the other and over the rows themselves, and the results are merged.

  Args:
    q_BTNH: queries of the new positions; B = Q * G, rows of a group are neighbours.
    k_BTKH: keys of the new positions.
    v_BTKH: values of the new positions.
    prompts: see `shared_attention`.
    mask_QS: see `shared_attention`.
  """
  B, T, N, H = q_BTNH.shape
  if sharding.platform() != "tpu":
    mask_BTT = jnp.broadcast_to(np.tri(T, dtype=bool), (B, T, T))
    own = (*kv_cache.to_cache_layout(k_BTKH, v_BTKH), mask_BTT)
    return shared_attention(q_BTNH, prompts, mask_QS, own)
  o_BTNH = sharding.shard_map_logical(
    _extended_by_kernels,
    (q_BTNH, ("batch", None, "heads", None)),
    *[(x, ("batch", None, "kv_heads", None)) for x in (k_BTKH, v_BTKH)],
    *[(x, KV_AXES) for x in prompts],
    (mask_QS, ("batch", None)),
  )
  return o_BTNH.reshape(B, T, N * H)


def _extended_by_kernels(q_BTNH, k_BTKH, v_BTKH, k_QKHS, v_QKSH, mask_QS):
  """`extended_attention` of one device's shard, o_BTNH."""
  Q = len(mask_QS)
  q_QMNH = q_BTNH.reshape(Q, -1, *q_BTNH.shape[2:])
  ones_QM, seen_QS = jnp.ones(q_QMNH.shape[:2], jnp.int32), mask_QS.astype(jnp.int32)
  k_QSKH, v_QSKH = k_QKHS.transpose(0, 3, 1, 2), v_QKSH.swapaxes(1, 2)
  flash = flash_attention.flash_attention
  over_prompt = flash(q_QMNH, k_QSKH, v_QSKH, ones_QM, seen_QS, causal=False)
  parts = [over_prompt, flash(q_BTNH, k_BTKH, v_BTKH)]
  outs, lses = zip(
    *[(o.reshape(q_BTNH.shape), lse.reshape(*q_BTNH.shape[:3], 1)) for o, lse in parts],
    strict=True,
  )
  highest = jax.lax.stop_gradient(jnp.maximum(*lses))
  weights = [jnp.exp(lse - highest) for lse in lses]
  o_BTNH = sum(o * weight for o, weight in zip(outs, weights, strict=True)) / sum(weights)
  return o_BTNH.astype(q_BTNH.dtype)


def decode_attention(
  q_B1NH: jax.Array,
  layer: jax.Array | None,
  context: DecodeContext,
  chunk: KeysValues,
  chunk_position: jax.Array,
) -> jax.Array:
  """`shared_attention` of one new position, [B, 1, N * H]; on a TPU by the decode kernels.

  Args:
    q_B1NH: queries.
    layer: i32[], index in the context's stacks of layers; None: the context is of one layer.
    context: the KV cache before the chunk. Parts of answers that no row needs are not read, as
      decoding is bound by the bytes that it reads.
    chunk: keys and values of the chunk that is being decoded.
    chunk_position: i32[], the last filled position of the chunk, that of the queries.
  """
  if sharding.platform() == "tpu":
    return _decode_by_kernels(q_B1NH, layer, context, chunk, chunk_position)
  prompts, answers, chunk = layers.layer_slice((context.prompts, context.answers, chunk), layer)
  length_B = context.answer_length_B
  B, C = len(length_B), chunk[0].shape[-1]
  P = answers[0][0].shape[-1] if answers else 0
  chunk_mask_B1C = jnp.broadcast_to(jnp.arange(C) <= chunk_position, (B, 1, C))

  def over_parts(count: int) -> jax.Array:
    own = []
    for i, part in enumerate(answers[:count]):
      mask_B1P = (i * P + jnp.arange(P)[None] < length_B[:, None])[:, None]
      own.append((*part, mask_B1P))
    own.append((*chunk, chunk_mask_B1C))
    return shared_attention(
      q_B1NH, prompts, context.prompt_mask_QS, *own, assignment=context.assignment
    )

  if len(answers) <= 1:
    return over_parts(len(answers))
  counts = range(len(answers) + 1)
  needed = -(-length_B.max() // P)
  return jax.lax.switch(needed, [functools.partial(over_parts, n) for n in counts])


def _decode_by_kernels(
  q_B1NH: jax.Array,
  layer: jax.Array | None,
  context: DecodeContext,
  chunk: KeysValues,
  chunk_position: jax.Array,
) -> jax.Array:
  """`decode_attention` on a TPU."""
  prompts, (answers,) = context.prompts, context.answers
  if layer is None:
    layer = 0
    prompts, answers, chunk = jax.tree.map(lambda x: x[None], (prompts, answers, chunk))

  def shard(q_BNH, layer, position, *cache_and_assignment):
    prompts, length_Q, answers, length_B, chunk, *assigned = cache_and_assignment
    sample_B = jnp.arange(len(q_BNH), dtype=jnp.int32)
    assigned = assigned or (sample_B.reshape(len(length_Q), -1), sample_B)
    prompts, answers, chunk = (decode_cache.KeysValues(*part) for part in (prompts, answers, chunk))
    cache = decode_cache.DecodeCache(prompts, length_Q, answers, length_B, chunk, position)
    return decode_kernel.decode_attention(q_BNH, layer, cache, *assigned)

  assigned = ()
  if context.assignment is not None:
    assigned = zip(context.assignment, (("batch", None), ("batch",)), strict=True)
  o_BNH = sharding.shard_map_logical(
    shard,
    (q_B1NH[:, 0], ("batch", "heads", None)),
    (jnp.int32(layer), ()),
    (jnp.int32(chunk_position), ()),
    (prompts, KV_AXES),
    (context.prompt_mask_QS.sum(-1, dtype=jnp.int32), ("batch",)),
    (answers, KV_AXES),
    (context.answer_length_B, ("batch",)),
    (chunk, KV_AXES),
    *assigned,
  )
  return o_BNH.reshape(len(q_B1NH), 1, -1)
