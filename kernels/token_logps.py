"""Log-probabilities of given tokens under a linear head, without the [B, T, V] logits.

B batch, T time, D width, V vocabulary, N tokens (B * T, or those of a block), C words (entries of
the vocabulary) of a chunk.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")  # a pytree


def token_logps_ref(
  x_BTD: jax.Array, w_VD: jax.Array, tokens_BT: jax.Array, *, temperature: float = 1.0
) -> jax.Array:
  """The definition: log-softmax of x @ w.T / temperature in float32, at the tokens.

  Materialises the logits.
  """
  logits_BTV = jnp.einsum("BTD,VD->BTV", x_BTD, w_VD, preferred_element_type=jnp.float32)
  logps_BTV = jax.nn.log_softmax(logits_BTV / temperature, axis=-1)
  return jnp.take_along_axis(logps_BTV, tokens_BT[..., None], axis=-1)[..., 0]


def token_logps(
  x_BTD: jax.Array,
  w_VD: jax.Array,
  tokens_BT: jax.Array,
  mask_BT: jax.Array | None = None,
  *,
  temperature: float = 1.0,
  chunk: int = 8192,
  block: int = 2048,
) -> jax.Array:
  """Equal to `token_logps_ref`; holds [block, chunk] logits at a time, forward and backward.

  Args:
    x_BTD: hidden states.
    w_VD: the head, one row per entry of the vocabulary.
    tokens_BT: i32, ids below V.
    mask_BT: tokens with 0 or less have log-probability 0; on one device their computation is
      skipped. None: all tokens are computed.
    temperature: the logits are divided by it.
    chunk: words of the vocabulary in one step of the scan.
    block: tokens in one step on one device; on several devices it is all tokens.

  Returns:
    f32[B, T]. Differentiable in x_BTD and w_VD.
  """
  x_ND, tokens_N = x_BTD.reshape(-1, x_BTD.shape[-1]), tokens_BT.reshape(-1)
  N = len(tokens_N)
  one_device = jax.sharding.get_abstract_mesh().size <= 1
  settings = _Settings(min(chunk, len(w_VD)), min(block, N) if one_device else N, temperature)
  wanted_N = None if mask_BT is None else mask_BT.reshape(-1) > 0
  if wanted_N is None or not one_device:
    logps_N = _padded_logps(x_ND, w_VD, tokens_N, N, settings)
  else:
    order_N = jnp.argsort(~wanted_N)  # stable: wanted tokens come first, in their order
    logps_N = _padded_logps(x_ND[order_N], w_VD, tokens_N[order_N], wanted_N.sum(), settings)
    logps_N = jnp.zeros_like(logps_N).at[order_N].set(logps_N, unique_indices=True)
  if wanted_N is not None:
    logps_N = jnp.where(wanted_N, logps_N, 0.0)
  return logps_N.reshape(tokens_BT.shape)


class _Settings(NamedTuple):
  """Arguments of `token_logps` that are constants of the program."""

  chunk: int
  block: int
  temperature: float


def _padded_logps(
  x_ND: jax.Array,
  w_VD: jax.Array,
  tokens_N: jax.Array,
  count: int | jax.Array,
  settings: _Settings,
) -> jax.Array:
  """`_logps`, f32[N], with padding to whole blocks; those after `count` tokens are skipped."""
  N, block = len(tokens_N), settings.block
  padding = -N % block
  if padding:
    x_ND, tokens_N = jnp.pad(x_ND, ((0, padding), (0, 0))), jnp.pad(tokens_N, (0, padding))
  return _logps(x_ND, w_VD, tokens_N, jnp.int32(-(-count // block)), settings)[:N]


def _chunk_starts(w_VD: jax.Array, chunk: int) -> jax.Array:
  """First row of each chunk of the head."""
  return jnp.arange(0, w_VD.shape[0], chunk)


def _chunk(
  w_VD: jax.Array, first: jax.Array, chunk: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """(first row, word ids i32[C], rows w_CD, new bool[C]) of the chunk of the head at row `first`.

  The last chunk is moved back so that it ends at V; rows that the previous chunk has, too, are not
  `new`.
  """
  start = jnp.minimum(first, w_VD.shape[0] - chunk)
  ids_C = start + jnp.arange(chunk)
  return start, ids_C, jax.lax.dynamic_slice_in_dim(w_VD, start, chunk), ids_C >= first


def _logits(x_ND: jax.Array, w_CD: jax.Array, new_C: jax.Array, settings: _Settings) -> jax.Array:
  """Logits of a chunk by the temperature, f32[N, C]; -inf for words that are not `new`."""
  logits_NC = jnp.einsum("ND,CD->NC", x_ND, w_CD, preferred_element_type=jnp.float32)
  if settings.temperature != 1:
    logits_NC /= settings.temperature
  return jnp.where(new_C[None], logits_NC, -jnp.inf)


def _over_blocks(
  f: Callable[..., tuple[Tree, Tree]],
  blocks: jax.Array,
  block: int,
  init: tuple[Tree, Tree],
  *arrays_N: jax.Array,
) -> tuple[Tree, Tree]:
  """Runs `carry, outputs = f(carry, *slices)` on the first `blocks` blocks of tokens, in order.

  Args:
    f: the function of one block; `slices` are the block's rows of arrays_N.
    blocks: i32[], number of blocks.
    block: number of tokens per block.
    init: (carry before the first block, arrays [N, ...] that the outputs are written into).
    arrays_N: arrays [N, ...].

  Returns:
    (carry after the last block, the arrays with the outputs).
  """
  if len(arrays_N[0]) == block:
    return f(init[0], *arrays_N)

  def step(i, carry_and_outputs):
    carry, outputs = carry_and_outputs
    parts = [jax.lax.dynamic_slice_in_dim(x, i * block, block) for x in arrays_N]
    carry, new = f(carry, *parts)

    def write(output, x):
      return jax.lax.dynamic_update_slice_in_dim(output, x, i * block, 0)

    return carry, jax.tree.map(write, outputs, new)

  return jax.lax.fori_loop(0, blocks, step, init)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _logps(x_ND, w_VD, tokens_N, blocks, settings):
  """Log-probabilities of the tokens in the first `blocks` blocks, f32[N]; 0 for the others."""
  return _forward(x_ND, w_VD, tokens_N, blocks, settings)[0]


def _forward(x_ND, w_VD, tokens_N, blocks, settings):
  """(output of `_logps`, residuals of `_backward`)."""
  chunk, block, _ = settings

  def forward_block(_, x_ND, tokens_N):
    def step(carry, first):
      max_N, total_N, picked_N = carry
      _, ids_C, w_CD, new_C = _chunk(w_VD, first, chunk)
      logits_NC = _logits(x_ND, w_CD, new_C, settings)
      # Online log-sum-exp: the total so far is rescaled to the new maximum.
      higher_N = jnp.maximum(max_N, logits_NC.max(-1))
      total_N = total_N * jnp.exp(max_N - higher_N) + jnp.exp(logits_NC - higher_N[:, None]).sum(-1)
      hit_NC = (ids_C[None] == tokens_N[:, None]) & new_C[None]
      picked_N = picked_N + jnp.where(hit_NC, logits_NC, 0.0).sum(-1)
      return (higher_N, total_N, picked_N), None

    empty_N = jnp.zeros(tokens_N.shape, jnp.float32)
    init = (jnp.full_like(empty_N, -jnp.inf), empty_N, empty_N)
    (max_N, total_N, picked_N), _ = jax.lax.scan(step, init, _chunk_starts(w_VD, chunk))
    lse_N = max_N + jnp.log(total_N)
    return (), (picked_N - lse_N, lse_N)

  empty_N = jnp.zeros(tokens_N.shape, jnp.float32)
  init = (), (empty_N,) * 2
  _, (logps_N, lse_N) = _over_blocks(forward_block, blocks, block, init, x_ND, tokens_N)
  return logps_N, (x_ND, w_VD, tokens_N, blocks, lse_N)


def _backward(settings, residuals, g_N):
  """Gradients of `_logps`; the probabilities are recomputed chunk by chunk."""
  x_ND, w_VD, tokens_N, blocks, lse_N = residuals
  chunk, block, temperature = settings
  g_N = g_N / temperature

  def backward_block(dw_VD, x_ND, tokens_N, lse_N, g_N):
    def step(carry, first):
      dx_ND, dw_VD = carry
      start, ids_C, w_CD, new_C = _chunk(w_VD, first, chunk)
      probs_NC = jnp.exp(_logits(x_ND, w_CD, new_C, settings) - lse_N[:, None])
      hit_NC = (ids_C[None] == tokens_N[:, None]) & new_C[None]
      dlogits_NC = ((hit_NC - probs_NC) * g_N[:, None]).astype(x_ND.dtype)
      dx_ND += jnp.einsum("NC,CD->ND", dlogits_NC, w_CD, preferred_element_type=jnp.float32)
      dw_CD = jnp.einsum("NC,ND->CD", dlogits_NC, x_ND, preferred_element_type=jnp.float32)
      dw_CD += jax.lax.dynamic_slice_in_dim(dw_VD, start, chunk)
      return (dx_ND, jax.lax.dynamic_update_slice_in_dim(dw_VD, dw_CD, start, 0)), None

    init = (jnp.zeros(x_ND.shape, jnp.float32), dw_VD)
    (dx_ND, dw_VD), _ = jax.lax.scan(step, init, _chunk_starts(w_VD, chunk))
    return dw_VD, dx_ND

  init = (jnp.zeros(w_VD.shape, jnp.float32), jnp.zeros(x_ND.shape, jnp.float32))
  dw_VD, dx_ND = _over_blocks(backward_block, blocks, block, init, x_ND, tokens_N, lse_N, g_N)
  return dx_ND.astype(x_ND.dtype), dw_VD.astype(w_VD.dtype), None, None


_logps.defvjp(_forward, _backward)
