"""Log-probabilities of given tokens under a linear head, without the [B, T, V] logits.

B batch, T time, D width, V vocabulary, N = B * T tokens, C chunk of the vocabulary.
"""

import functools

import jax
import jax.numpy as jnp


def token_logps_ref(x_BTD, w_VD, tokens_BT):
  """The definition: log-softmax of x @ w.T in float32, at the tokens. Materialises the logits."""
  logits_BTV = jnp.einsum("BTD,VD->BTV", x_BTD, w_VD, preferred_element_type=jnp.float32)
  logps_BTV = jax.nn.log_softmax(logits_BTV, axis=-1)
  return jnp.take_along_axis(logps_BTV, tokens_BT[..., None], axis=-1)[..., 0]


def token_logps(x_BTD, w_VD, tokens_BT, *, chunk=8192):
  """Equal to `token_logps_ref`; holds [N, chunk] logits at a time, forward and backward.

  Args:
    x_BTD: hidden states.
    w_VD: the head, one row a word.
    tokens_BT: i32, ids below V.
    chunk: words of the vocabulary in one step of the scan.

  Returns:
    f32[B, T]. Differentiable in x_BTD and w_VD.
  """
  x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
  logps_N = _logps(x_ND, w_VD, tokens_BT.reshape(-1), min(chunk, w_VD.shape[0]))
  return logps_N.reshape(tokens_BT.shape)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _logps(x_ND, w_VD, tokens_N, chunk):
  return _forward(x_ND, w_VD, tokens_N, chunk)[0]


def _forward(x_ND, w_VD, tokens_N, chunk):
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
  return picked_N - lse_N, (x_ND, w_VD, tokens_N, lse_N)


def _backward(chunk, saved, g_N):
  x_ND, w_VD, tokens_N, lse_N = saved

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

  start = (jnp.zeros(x_ND.shape, jnp.float32), jnp.zeros(w_VD.shape, jnp.float32))
  (dx_ND, dw_VD), _ = jax.lax.scan(step, start, _starts(w_VD, chunk))
  return dx_ND.astype(x_ND.dtype), dw_VD.astype(w_VD.dtype), None


_logps.defvjp(_forward, _backward)
