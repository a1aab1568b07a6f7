"""Log-probabilities of given tokens under a linear head, without the [B, T, V] logits.

B batch, T time, D width, V vocabulary, N tokens (B * T, or a block of them), C chunk of the
vocabulary.
"""

import functools

import jax
import jax.numpy as jnp


def token_logps_ref(x_BTD, w_VD, tokens_BT):
  """The definition: log-softmax of x @ w.T in float32, at the tokens. Materialises the logits."""
  logits_BTV = jnp.einsum("BTD,VD->BTV", x_BTD, w_VD, preferred_element_type=jnp.float32)
  logps_BTV = jax.nn.log_softmax(logits_BTV, axis=-1)
  return jnp.take_along_axis(logps_BTV, tokens_BT[..., None], axis=-1)[..., 0]


def token_logps(x_BTD, w_VD, tokens_BT, mask_BT=None, *, chunk=8192, block=2048):
  """Equal to `token_logps_ref`; holds [block, chunk] logits at a time, forward and backward.

  Args:
    x_BTD: hidden states.
    w_VD: the head, one row a word.
    tokens_BT: i32, ids below V.
    mask_BT: which tokens are wanted, those above 0; the others' log-probability is 0. On one device
      they cost nothing. None: all.
    chunk: words of the vocabulary in one step of the scan.
    block: tokens in one step, on one device; where several share the tokens it is all of them.

  Returns:
    f32[B, T]. Differentiable in x_BTD and w_VD.
  """
  x_ND, tokens_N = x_BTD.reshape(-1, x_BTD.shape[-1]), tokens_BT.reshape(-1)
  N = len(tokens_N)
  alone = jax.sharding.get_abstract_mesh().size <= 1
  block, chunk = min(block, N) if alone else N, min(chunk, len(w_VD))
  wanted_N = None if mask_BT is None else mask_BT.reshape(-1) > 0
  if wanted_N is None or not alone:
    logps_N = _padded_logps(x_ND, w_VD, tokens_N, N, chunk, block)
  else:
    order_N = jnp.argsort(~wanted_N)  # stable: those that are wanted come first
    logps_N = _padded_logps(x_ND[order_N], w_VD, tokens_N[order_N], wanted_N.sum(), chunk, block)
    logps_N = jnp.zeros_like(logps_N).at[order_N].set(logps_N, unique_indices=True)
  if wanted_N is not None:
    logps_N = jnp.where(wanted_N, logps_N, 0.0)
  return logps_N.reshape(tokens_BT.shape)


def _padded_logps(x_ND, w_VD, tokens_N, count, chunk, block):
  """_logps of the first `count` tokens; whole blocks are made."""
  N = len(tokens_N)
  more = -N % block
  if more:
    x_ND, tokens_N = jnp.pad(x_ND, ((0, more), (0, 0))), jnp.pad(tokens_N, (0, more))
  return _logps(x_ND, w_VD, tokens_N, jnp.int32(-(-count // block)), chunk, block)[:N]


def _starts(w_VD, chunk):
  return jnp.arange(0, w_VD.shape[0], chunk)


def _chunk(w_VD, first, chunk):
  """C rows of the head from `first` on, and which of them are new.

  The last chunk is moved back so that it ends with V; the rows that it repeats do not count.
  """
  start = jnp.minimum(first, w_VD.shape[0] - chunk)
  ids_C = start + jnp.arange(chunk)
  return start, ids_C, jax.lax.dynamic_slice_in_dim(w_VD, start, chunk), ids_C >= first


def _logits(x_ND, w_CD, new_C):
  logits_NC = jnp.einsum("ND,CD->NC", x_ND, w_CD, preferred_element_type=jnp.float32)
  return jnp.where(new_C[None], logits_NC, -jnp.inf)


def _over_blocks(one, blocks, block, start, *arrays_N):
  """`start` after `carry, parts = one(carry, *parts of arrays)` of each of the first blocks.

  start: (carry, arrays that the parts go into).
  """
  if len(arrays_N[0]) == block:
    return one(start[0], *arrays_N)

  def step(i, both):
    carry, outs = both
    part = lambda x: jax.lax.dynamic_slice_in_dim(x, i * block, block)
    carry, new = one(carry, *map(part, arrays_N))
    put = lambda out, x: jax.lax.dynamic_update_slice_in_dim(out, x, i * block, 0)
    return carry, jax.tree.map(put, outs, new)

  return jax.lax.fori_loop(0, blocks, step, start)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _logps(x_ND, w_VD, tokens_N, blocks, chunk, block):
  return _forward(x_ND, w_VD, tokens_N, blocks, chunk, block)[0]


def _forward(x_ND, w_VD, tokens_N, blocks, chunk, block):
  def one(_, x_ND, tokens_N):
    def step(carry, first):
      top_N, total_N, picked_N = carry
      _, ids_C, w_CD, new_C = _chunk(w_VD, first, chunk)
      logits_NC = _logits(x_ND, w_CD, new_C)
      # The online log-sum-exp: what was summed so far is rescaled to the new maximum.
      higher_N = jnp.maximum(top_N, logits_NC.max(-1))
      total_N = total_N * jnp.exp(top_N - higher_N) + jnp.exp(logits_NC - higher_N[:, None]).sum(-1)
      hit_NC = (ids_C[None] == tokens_N[:, None]) & new_C[None]
      picked_N = picked_N + jnp.where(hit_NC, logits_NC, 0.0).sum(-1)
      return (higher_N, total_N, picked_N), None

    empty_N = jnp.zeros(tokens_N.shape, jnp.float32)
    start = (jnp.full_like(empty_N, -jnp.inf), empty_N, empty_N)
    (top_N, total_N, picked_N), _ = jax.lax.scan(step, start, _starts(w_VD, chunk))
    lse_N = top_N + jnp.log(total_N)
    return (), (picked_N - lse_N, lse_N)

  empty_N = jnp.zeros(tokens_N.shape, jnp.float32)
  _, (logps_N, lse_N) = _over_blocks(one, blocks, block, ((), (empty_N,) * 2), x_ND, tokens_N)
  return logps_N, (x_ND, w_VD, tokens_N, blocks, lse_N)


def _backward(chunk, block, saved, g_N):
  x_ND, w_VD, tokens_N, blocks, lse_N = saved

  def one(dw_VD, x_ND, tokens_N, lse_N, g_N):
    def step(carry, first):
      dx_ND, dw_VD = carry
      start, ids_C, w_CD, new_C = _chunk(w_VD, first, chunk)
      probs_NC = jnp.exp(_logits(x_ND, w_CD, new_C) - lse_N[:, None])
      hit_NC = (ids_C[None] == tokens_N[:, None]) & new_C[None]
      dlogits_NC = ((hit_NC - probs_NC) * g_N[:, None]).astype(x_ND.dtype)
      dx_ND += jnp.einsum("NC,CD->ND", dlogits_NC, w_CD, preferred_element_type=jnp.float32)
      dw_CD = jnp.einsum("NC,ND->CD", dlogits_NC, x_ND, preferred_element_type=jnp.float32)
      dw_CD += jax.lax.dynamic_slice_in_dim(dw_VD, start, chunk)
      return (dx_ND, jax.lax.dynamic_update_slice_in_dim(dw_VD, dw_CD, start, 0)), None

    start = (jnp.zeros(x_ND.shape, jnp.float32), dw_VD)
    (dx_ND, dw_VD), _ = jax.lax.scan(step, start, _starts(w_VD, chunk))
    return dw_VD, dx_ND

  start = (jnp.zeros(w_VD.shape, jnp.float32), jnp.zeros(x_ND.shape, jnp.float32))
  dw_VD, dx_ND = _over_blocks(one, blocks, block, start, x_ND, tokens_N, lse_N, g_N)
  return dx_ND.astype(x_ND.dtype), dw_VD.astype(w_VD.dtype), None, None


_logps.defvjp(_forward, _backward)
