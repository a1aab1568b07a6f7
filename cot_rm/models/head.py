"""Log-probabilities of tokens under a model's head: by a kernel on a TPU, elsewhere in chunks.

The compiler cannot part a kernel over devices. Here each has its rows of tokens and its words of
the head: what rows need of one another's words goes round in one small collective, and the head's
gradient is summed where its shares lie.

B sequences, T tokens, N = B * T, D width, V vocabulary.
"""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from cot_rm import sharding
from cot_rm.kernels import fused_head
from cot_rm.kernels import token_logps as chunks


def token_logps(x_BTD, w_VD, tokens_BT, mask_BT=None):
  """f32[B, T]: see kernels/token_logps.py."""
  if sharding.platform() != "tpu":
    return chunks.token_logps(x_BTD, w_VD, tokens_BT, mask_BT)
  wanted_BT = jnp.ones(tokens_BT.shape, bool) if mask_BT is None else mask_BT > 0
  return _logps(x_BTD, w_VD, tokens_BT, wanted_BT)


@jax.custom_vjp
def _logps(x_BTD, w_VD, tokens_BT, wanted_BT):
  return _forward(x_BTD, w_VD, tokens_BT, wanted_BT)[0]


def _shares(x_BTD, w_VD):
  """Axes of the mesh for rows, words and width."""
  lengths = dict(batch=len(x_BTD), vocab=len(w_VD), embed=w_VD.shape[1])
  return [sharding.even_mesh_axes(axis, length) for axis, length in lengths.items()]


def _flat(wanted_BT, *arrays):
  """(places_N, how many are wanted, [arrays_N]): those that are wanted come first, in their order.

  places_N: where each token has gone. By sums, as a sort takes the TPU's compiler seconds.
  """
  wanted_N = wanted_BT.reshape(-1)
  count = wanted_N.sum()
  places_N = jnp.where(wanted_N, jnp.cumsum(wanted_N), count + jnp.cumsum(~wanted_N)) - 1
  order_N = (
    jnp.zeros_like(places_N).at[places_N].set(jnp.arange(len(places_N)), unique_indices=True)
  )
  return places_N, count, [x.reshape(-1, *x.shape[2:])[order_N] for x in arrays]


def _back(x, places_N, like):
  return x[places_N].reshape(like.shape[:2] + x.shape[1:])


def _forward(x_BTD, w_VD, tokens_BT, wanted_BT):
  batch, vocab, _ = _shares(x_BTD, w_VD)

  def own(x_BTD, w_VD, tokens_BT, wanted_BT):
    places_N, count, (x_ND, tokens_N) = _flat(wanted_BT, x_BTD, tokens_BT)
    logps_N, lse_N, _ = fused_head.logps(x_ND, w_VD, tokens_N, count, vocab or None)
    return _back(logps_N, places_N, tokens_BT), _back(lse_N, places_N, tokens_BT)

  rows, words = P(batch or None), P(vocab or None)
  run = sharding.shard_map_here(own, (rows, words, rows, rows), (rows, rows))
  logps_BT, lse_BT = run(x_BTD, w_VD, tokens_BT, wanted_BT)
  return logps_BT, (x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT)


def _backward(saved, g_BT):
  x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT = saved
  batch, vocab, embed = _shares(x_BTD, w_VD)
  # The head's width is shared over devices that have rows of their own: each gets its share of the
  # sum. Over the others of them it is summed as it is.
  embed = embed if set(embed) <= set(batch) else ()
  rest = tuple(axis for axis in batch if axis not in embed)

  def own(x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT, g_BT):
    g_BT = jnp.where(wanted_BT, g_BT, 0.0)
    places_N, count, (x_ND, *rows) = _flat(wanted_BT, x_BTD, tokens_BT, lse_BT, g_BT)
    dx_ND, dw_VD = fused_head.gradients(x_ND, w_VD, *rows, count, vocab or None)
    if vocab:
      dx_ND = jax.lax.psum(dx_ND, vocab)
    if embed:
      dw_VD = jax.lax.psum_scatter(dw_VD, embed, scatter_dimension=1, tiled=True)
    if rest:
      dw_VD = jax.lax.psum(dw_VD, rest)
    return _back(dx_ND.astype(x_BTD.dtype), places_N, tokens_BT), dw_VD

  rows, words = P(batch or None), P(vocab or None)
  run = sharding.shard_map_here(
    own, (rows, words, rows, rows, rows, rows), (rows, P(vocab or None, embed or None))
  )
  dx_BTD, dw_VD = run(x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT, g_BT)
  return dx_BTD, dw_VD, None, None


_logps.defvjp(_forward, _backward)
