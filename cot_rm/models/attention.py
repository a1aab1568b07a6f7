"""Attention, as models train, read and write; and the keys and values that it keeps.

B batch, T query positions, S key positions, N heads, K kv heads, R = N / K, H head size, Q prompts,
G places at a prompt for samples of it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cot_rm import sharding
from cot_rm.kernels import decode_attention as decode_attention_kernel
from cot_rm.kernels import flash_attention
from cot_rm.models import layers

# Low enough to vanish in a softmax; finite, so that a row with nothing to look at is not NaN.
MASKED = -1e30
KEPT = ("batch", "kv_heads", None, None)  # logical axes of keys and values as they are kept


class Assignment(NamedTuple):
  """Sample-to-prompt assignment: B samples, Q prompts with G group indices each.

  Where rows are sharded over devices the numbers count within a device's shard, and a sample can
  only be assigned to a prompt of its shard.
  """

  sample_QG: jax.Array  # i32: the sample at each group index of a prompt; B or more: none
  flat_index_B: jax.Array  # i32: q * G + g of each sample; arbitrary for an inactive one


def _scores(q_BTNH, k_BSKH):
  """f32[B, K, R, T, S]: scaled products of each query with the keys of its kv head."""
  B, T, N, H = q_BTNH.shape
  q_BTKRH = q_BTNH.reshape(B, T, k_BSKH.shape[2], -1, H)
  return (
    jnp.einsum("BTKRH,BSKH->BKRTS", q_BTKRH, k_BSKH, preferred_element_type=jnp.float32) * H**-0.5
  )


def _mix(p_BKRTS, v_BSKH):
  o_BTKRH = jnp.einsum("BKRTS,BSKH->BTKRH", p_BKRTS.astype(v_BSKH.dtype), v_BSKH)
  return o_BTKRH.reshape(*o_BTKRH.shape[:2], -1)


def attention(q_BTNH, k_BSKH, v_BSKH, mask_BTS):
  """Grouped-query attention; softmax in float32. Returns [B, T, N * H].

  A query whose mask is empty gets the mean of the values: finite, and of no meaning.
  """
  s_BKRTS = jnp.where(mask_BTS[:, None, None], _scores(q_BTNH, k_BSKH), MASKED)
  return _mix(jax.nn.softmax(s_BKRTS, axis=-1), v_BSKH)


def segment_attention(q_BTNH, k_BTKH, v_BTKH, segments_BT, *, causal):
  """Attention within segments, if causal to what is before: `attention`, on a TPU by a kernel.

  Returns [B, T, N * H].
  """
  if sharding.platform() != "tpu":
    mask_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    if causal:
      mask_BTT &= np.tri(segments_BT.shape[1], dtype=bool)[None]
    return attention(q_BTNH, k_BTKH, v_BTKH, mask_BTT)
  given = [(q_BTNH, "heads"), (k_BTKH, "kv_heads"), (v_BTKH, "kv_heads")]
  o_BTNH = sharding.shard_map_logical(
    lambda q, k, v, ids: flash_attention.flash_attention(q, k, v, ids, ids, causal=causal)[0],
    *[(x, ("batch", None, heads, None)) for x, heads in given],
    (segments_BT, ("batch", None)),
  )
  return o_BTNH.reshape(*o_BTNH.shape[:2], -1)


def shared_attention(q_BTNH, shared, mask_QS, *own, assignment=None):
  """Attention over the keys of a prompt, held once for all its samples, and each sample's own keys.

  Args:
    q_BTNH: queries.
    shared: keys [Q, K, H, S] and values [Q, K, S, H] of the prompts.
    mask_QS: which prompt positions count.
    own: parts of what a sample has of its own, in order: keys [B, K, H, S'], values [B, K, S', H],
      and mask_BTS', which of these positions each query sees.
    assignment: sample-to-prompt assignment; None: sample q * G + g belongs to prompt q.

  Returns:
    [B, T, N * H]; equal to `attention` over all parts laid end to end.
  """
  B, T, N, H = q_BTNH.shape
  Q, K, _, S = shared[0].shape
  G = B // Q if assignment is None else assignment.sample_QG.shape[1]
  M = T * (N // K)  # queries that a sample has of a kv head

  # One product serves all at a prompt's places: their queries stand beside one another.
  def together(x_BKMH):
    x_PKMH = x_BKMH if assignment is None else _gathered(x_BKMH, assignment.sample_QG.reshape(-1))
    return x_PKMH.reshape(Q, G, K, M, -1).swapaxes(1, 2).reshape(Q, K, G * M, -1)

  def apart(x):
    x_PKMH = x.reshape(Q, K, G, M, -1).swapaxes(1, 2).reshape(Q * G, K, M, -1)
    return x_PKMH if assignment is None else _gathered(x_PKMH, assignment.flat_index_B)

  score = lambda q, k: (
    jnp.einsum("BKMH,BKHS->BKMS", q, k, preferred_element_type=jnp.float32) * H**-0.5
  )
  mix = lambda p, v: jnp.einsum(
    "BKMS,BKSH->BKMH", p.astype(v.dtype), v, preferred_element_type=jnp.float32
  )

  q_BKMH = q_BTNH.reshape(B, T, K, -1, H).swapaxes(1, 2).reshape(B, K, M, H)
  mask_Q11S = mask_QS[:, None, None]
  scores = [apart(jnp.where(mask_Q11S, score(together(q_BKMH), shared[0]), MASKED))]
  for keys, _, mask_BTS in own:
    mask_BMS = jnp.repeat(mask_BTS, N // K, axis=1)
    scores.append(jnp.where(mask_BMS[:, None], score(q_BKMH, keys), MASKED))
  # Each part is summed alone and the sums in order, so that a part of which a row sees nothing adds
  # an exact 0: the row comes out the same, bit for bit, where that part is not there.
  highest = functools.reduce(jnp.maximum, [s.max(-1, keepdims=True) for s in scores])
  highest = jax.lax.stop_gradient(highest)  # it falls out of the quotient
  shares = [jnp.exp(s - highest) for s in scores]
  o_BKMH = apart(mix(together(shares[0]), shared[1]))
  total = shares[0].sum(-1, keepdims=True)
  for (_, values, _), share in zip(own, shares[1:], strict=True):
    o_BKMH, total = o_BKMH + mix(share, values), total + share.sum(-1, keepdims=True)
  o_BKMH = (o_BKMH / total).astype(q_BTNH.dtype)
  return o_BKMH.reshape(B, K, T, -1, H).swapaxes(1, 2).reshape(B, T, -1)


def _gathered(x, row_P):
  """x[row_P], zeros where there is no such row; each device in its own share."""
  take = functools.partial(jnp.take, axis=0, mode="fill", fill_value=0)
  return sharding.shard_map_logical(take, (x, KEPT), (row_P, ("batch",)))


def extended_attention(q_BTNH, k_BTKH, v_BTKH, shared, mask_QS):
  """Causal attention of rows that go on from their group's prompt: of `shared_attention`.

  On a TPU by a kernel over the prompt, where a group's queries stand one behind the other, and one
  over the row itself; neither makes the scores.

  Args:
    q_BTNH, k_BTKH, v_BTKH: of the new positions; rows of one group are neighbours (B = Q * G).
    shared, mask_QS: see `shared_attention`.

  Returns:
    [B, T, N * H].
  """
  B, T, N, H = q_BTNH.shape
  if sharding.platform() != "tpu":
    mask_BTT = jnp.broadcast_to(np.tri(T, dtype=bool), (B, T, T))
    return shared_attention(q_BTNH, shared, mask_QS, (*kept(k_BTKH, v_BTKH), mask_BTT))

  def own(q_BTNH, k_BTKH, v_BTKH, k_QKHS, v_QKSH, mask_QS):
    Q = len(mask_QS)
    q_QMNH = q_BTNH.reshape(Q, -1, *q_BTNH.shape[2:])
    ones_QM, seen_QS = jnp.ones(q_QMNH.shape[:2], jnp.int32), mask_QS.astype(jnp.int32)
    k_QSKH, v_QSKH = k_QKHS.transpose(0, 3, 1, 2), v_QKSH.swapaxes(1, 2)
    flash = flash_attention.flash_attention
    before = flash(q_QMNH, k_QSKH, v_QSKH, ones_QM, seen_QS, causal=False)
    parts = [before, flash(q_BTNH, k_BTKH, v_BTKH)]
    outs, lses = zip(
      *[(o.reshape(q_BTNH.shape), lse.reshape(*q_BTNH.shape[:3], 1)) for o, lse in parts],
      strict=True,
    )
    top = jax.lax.stop_gradient(jnp.maximum(*lses))
    shares = [jnp.exp(lse - top) for lse in lses]
    o_BTNH = sum(o * share for o, share in zip(outs, shares, strict=True)) / sum(shares)
    return o_BTNH.astype(q_BTNH.dtype)

  o_BTNH = sharding.shard_map_logical(
    own,
    (q_BTNH, ("batch", None, "heads", None)),
    *[(x, ("batch", None, "kv_heads", None)) for x in (k_BTKH, v_BTKH)],
    *[(x, KEPT) for x in shared],
    (mask_QS, ("batch", None)),
  )
  return o_BTNH.reshape(B, T, N * H)


def decode_attention(q_B1NH, layer, prompts, mask_QS, answers, age_B, chunk, at, assignment):
  """`shared_attention` of one new position, on a TPU by kernels that read each part once.

  Args:
    q_B1NH: queries.
    layer: where keys and values are stacks of layers, which of them; None: they are of one.
    prompts: keys and values of Q prompts; mask_QS: which positions count, the first ones.
    answers: of what came before the chunk, a list of parts of one size P, on a TPU of one. Of
      several those of which no row needs any are not read: decoding is bound by what it reads.
    age_B: how many of an answer's positions count.
    chunk: of the chunk that is being made; at: the last that counts.
    assignment: see `shared_attention`.

  Returns:
    [B, 1, N * H].
  """
  if sharding.platform() == "tpu":
    return _decode_by_kernels(
      q_B1NH, layer, prompts, mask_QS, answers, age_B, chunk, at, assignment
    )
  prompts, answers, chunk = layers.of_layer((prompts, answers, chunk), layer)
  B, C = len(age_B), chunk[0].shape[-1]
  P = answers[0][0].shape[-1] if answers else 0
  new_B1C = jnp.broadcast_to(jnp.arange(C) <= at, (B, 1, C))
  old_B1P = lambda i: (i * P + jnp.arange(P)[None] < age_B[:, None])[:, None]

  def over(count):
    own = [(*part, old_B1P(i)) for i, part in enumerate(answers[:count])]
    return shared_attention(
      q_B1NH, prompts, mask_QS, *own, (*chunk, new_B1C), assignment=assignment
    )

  if len(answers) <= 1:
    return over(len(answers))
  counts = range(len(answers) + 1)
  return jax.lax.switch(-(-age_B.max() // P), [functools.partial(over, n) for n in counts])


def _decode_by_kernels(q_B1NH, layer, prompts, mask_QS, answers, age_B, chunk, at, assignment):
  (answers,) = answers
  if layer is None:
    layer = 0
    prompts, answers, chunk = jax.tree.map(lambda x: x[None], (prompts, answers, chunk))

  def own(q_BNH, i, now, prompts, length_Q, answers, age_B, chunk, *assigned):
    sample_B = jnp.arange(len(q_BNH), dtype=jnp.int32)
    assigned = assigned or (sample_B.reshape(len(length_Q), -1), sample_B)
    prompts, answers, chunk = (
      decode_attention_kernel.KeysValues(*part) for part in (prompts, answers, chunk)
    )
    cache = decode_attention_kernel.DecodeCache(prompts, length_Q, answers, age_B, chunk, now)
    return decode_attention_kernel.decode_attention(q_BNH, i, cache, *assigned)

  assigned = (
    () if assignment is None else zip(assignment, (("batch", None), ("batch",)), strict=True)
  )
  o_BNH = sharding.shard_map_logical(
    own,
    (q_B1NH[:, 0], ("batch", "heads", None)),
    (jnp.int32(layer), ()),
    (jnp.int32(at), ()),
    (prompts, KEPT),
    (mask_QS.sum(-1, dtype=jnp.int32), ("batch",)),
    (answers, KEPT),
    (age_B, ("batch",)),
    (chunk, KEPT),
    *assigned,
  )
  return o_BNH.reshape(len(q_B1NH), 1, -1)


def kept(k_BTKH, v_BTKH):
  """Keys [B, K, H, T] and values [B, K, T, H], as they are kept: a product runs along the last."""
  return k_BTKH.transpose(0, 2, 3, 1), v_BTKH.swapaxes(1, 2)


def empty_kept(rows, kv_heads, head_dim, length, dtype, *, layers=()):
  """Room for the keys and the values of so many positions of so many rows, of a layer or a stack.

  layers: () of one, (L,) of a stack.
  """
  return (
    jnp.zeros((*layers, rows, kv_heads, head_dim, length), dtype),
    jnp.zeros((*layers, rows, kv_heads, length, head_dim), dtype),
  )


def put_kept(room, at, new, layer=None):
  """`room` with the keys and values of new positions in it, from `at` on.

  layer: where room is a stack of layers, which of them they are of.
  """

  def put(room, new, axis):
    first = [0] * room.ndim
    first[axis] = at
    if layer is not None:
      first[0], new = layer, new[None]
    return jax.lax.dynamic_update_slice(room, new, first)

  return put(room[0], new[0], -1), put(room[1], new[1], -2)


def put_chunk(room, at_B, chunk):
  """`room` with a chunk of C positions in each row b, from at_B[b] on, a multiple of C.

  A row whose at_B[b] lies outside of the room stays as it is. Of a layer, or of a stack of them.
  """
  C, P = (keys.shape[-1] for keys, _ in (chunk, room))
  at_B = jnp.asarray(at_B)

  def each(room, chunk, at_B):
    # A row at a time: all at once, by a scatter or a mask, is a pass over the whole room.
    def step(b, room):
      at = at_B[b]

      def put(whole, part, axis):
        first = [0] * whole.ndim
        first[-4], first[axis] = b, at
        part = jax.lax.dynamic_slice_in_dim(part, b, 1, -4)
        here = (at >= 0) & (at < P)
        part = jnp.where(here, part, jax.lax.dynamic_slice(whole, first, part.shape))
        return jax.lax.dynamic_update_slice(whole, part, first)

      return put(room[0], chunk[0], -1), put(room[1], chunk[1], -2)

    return jax.lax.fori_loop(0, len(at_B), step, room)

  return sharding.shard_map_logical(each, (room, KEPT), (chunk, KEPT), (at_B, ("batch",)))
