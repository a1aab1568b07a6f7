"""Log-probabilities of a batch's tokens under a model: the input of every objective.

On a TPU by the kernels of `fused_head`, elsewhere by `kernels.token_logps` in chunks of the
vocabulary. The compiler cannot partition a kernel over devices, so the kernels run under shard_map:
each device has its rows of tokens and its rows of the head, one small collective exchanges the
log-sum-exp over the vocabulary's shards, and the head's gradient is summed into its own layout.

B sequences, T tokens, N = B * T, Q prompts, G answers to each (B = Q * G), S prompt positions, R
rows of pictures, M visual tokens, D width, V vocabulary.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P

from cot_rm import models, sharding
from cot_rm.batch import Batch
from cot_rm.kernels import fused_head
from cot_rm.kernels import token_logps as chunked
from cot_rm.models import layers


def batch_logps(
  model: models.Model, batch: Batch, *, masked: bool = False, temperature: float = 1.0
) -> jax.Array:
  """Log-probability of each token given the tokens before it, f32[B, T].

  A batch with `prompts` computes each prompt and its pictures once for all its answers. In a batch
  without, the first token of a row has no context and its log-probability is 0.

  Args:
    model: a Model of a family in cot_rm.models.
    batch: the tokens.
    masked: skip the tokens with batch.mask 0: their log-probability is 0.
    temperature: the logits are divided by it: 1, or that of the sampling whose tokens these are.
  """
  mask_BT = batch.mask if masked else None
  if batch.prompts is not None:
    return _after_prompts(model, batch, mask_BT, temperature)
  x_BTD, _ = prefill(model, batch)
  if masked:
    mask_BT = mask_BT[:, 1:]
  with jax.named_scope("token_logps"):
    logps_BT = token_logps(x_BTD[:, :-1], model.head, batch.tokens[:, 1:], mask_BT, temperature)
  return jnp.pad(logps_BT, ((0, 0), (1, 0)))


def make_batch_logps(
  graphdef: nnx.GraphDef,
  *,
  keep_casts: bool = False,
) -> Callable[[nnx.State, Batch], jax.Array]:
  """`(params, batch) -> f32[B, T]`, compiled: `batch_logps` of every token in one pass.

  See train.make_logps for a batch in several passes.

  Args:
    graphdef: of the model.
    keep_casts: less memory, see sharding.is_cast_on_cpu.
  """
  return jax.jit(
    lambda params, batch: batch_logps(nnx.merge(graphdef, params), batch),
    compiler_options=sharding.KEEP_CASTS if keep_casts else None,
  )


def _after_prompts(
  model: models.Model, batch: Batch, mask_BT: jax.Array | None, temperature: float
) -> jax.Array:
  """`batch_logps` of a batch with `prompts`: each prompt is computed once for its answers."""
  B = len(batch.tokens)
  x_QSD, prompt_kv = prefill(model, batch.prompts)
  segments_QS = batch.prompts.segments
  x_Q1D = layers.last_token(x_QSD, segments_QS)[:, None]
  x_BTD, _ = model.extend(model.embed(batch.tokens), batch.positions, prompt_kv, segments_QS > 0)
  # The prompt's last hidden state predicts the first token of each of its answers.
  first_B1D = jnp.repeat(x_Q1D, B // len(x_QSD), axis=0)
  before_BTD = jnp.concatenate([first_B1D, x_BTD[:, :-1]], axis=1)
  with jax.named_scope("token_logps"):
    return token_logps(before_BTD, model.head, batch.tokens, mask_BT, temperature)


def prefill(model: models.Model, batch: Batch) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """(hidden states [B, T, D] of a batch and its pictures, keys and values of every layer)."""
  features_RMD = None if batch.pictures is None else model.features(batch.pictures)
  x_BTD = model.embed(batch.tokens, batch.visual, features_RMD)
  return model.prefill(x_BTD, batch.positions, batch.segments)


def token_logps(
  x_BTD: jax.Array,
  w_VD: jax.Array,
  tokens_BT: jax.Array,
  mask_BT: jax.Array | None = None,
  temperature: float = 1.0,
) -> jax.Array:
  """Log-probabilities of given tokens under the head, f32[B, T]: `kernels.token_logps`.

  Args:
    x_BTD: hidden states.
    w_VD: the head, one row per entry of the vocabulary.
    tokens_BT: i32, ids below V.
    mask_BT: tokens with 0 are skipped and have log-probability 0. None: all tokens.
    temperature: the logits are divided by it.
  """
  if sharding.platform() != "tpu":
    return chunked.token_logps(x_BTD, w_VD, tokens_BT, mask_BT, temperature=temperature)
  wanted_BT = jnp.ones(tokens_BT.shape, bool) if mask_BT is None else mask_BT > 0
  return _fused_logps(x_BTD, w_VD, tokens_BT, wanted_BT, temperature)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _fused_logps(x_BTD, w_VD, tokens_BT, wanted_BT, temperature):
  return _forward(x_BTD, w_VD, tokens_BT, wanted_BT, temperature)[0]


def _mesh_axes(x_BTD: jax.Array, w_VD: jax.Array) -> list[tuple[str, ...]]:
  """Mesh axes over which the batch, the vocabulary and the width are sharded."""
  lengths = dict(batch=len(x_BTD), vocab=len(w_VD), embed=w_VD.shape[1])
  return [sharding.even_mesh_axes(axis, length) for axis, length in lengths.items()]


def _wanted_first(
  wanted_BT: jax.Array, *arrays: jax.Array
) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
  """Flattens arrays to [N, ...] and moves the wanted tokens to the front (a stable partition).

  Computed by cumulative sums: the TPU compiler takes seconds to compile a sort.

  Args:
    wanted_BT: bool, the tokens that are moved to the front.
    arrays: arrays [B, T, ...].

  Returns:
    (row_N: i32, new row of each token; count: i32[], number of wanted tokens; the arrays).
  """
  wanted_N = wanted_BT.reshape(-1)
  count = wanted_N.sum()
  row_N = jnp.where(wanted_N, jnp.cumsum(wanted_N), count + jnp.cumsum(~wanted_N)) - 1
  order_N = jnp.zeros_like(row_N).at[row_N].set(jnp.arange(len(row_N)), unique_indices=True)
  return row_N, count, [x.reshape(-1, *x.shape[2:])[order_N] for x in arrays]


def _unflatten(x: jax.Array, row_N: jax.Array, like_BT: jax.Array) -> jax.Array:
  """Inverse of `_wanted_first` for an array [N, ...]: [B, T, ...], with B and T of `like_BT`."""
  return x[row_N].reshape(like_BT.shape[:2] + x.shape[1:])


def _forward(x_BTD, w_VD, tokens_BT, wanted_BT, temperature):
  """(logps_BT, residuals of `_backward`)."""
  batch, vocab, _ = _mesh_axes(x_BTD, w_VD)

  def shard(x_BTD, w_VD, tokens_BT, wanted_BT):
    row_N, count, (x_ND, tokens_N) = _wanted_first(wanted_BT, x_BTD, tokens_BT)
    logps_N, lse_N = fused_head.logps(
      x_ND, w_VD, tokens_N, count, temperature=temperature, axis=vocab or None
    )
    return _unflatten(logps_N, row_N, tokens_BT), _unflatten(lse_N, row_N, tokens_BT)

  rows, words = P(batch or None), P(vocab or None)
  run = sharding.shard_map_here(shard, (rows, words, rows, rows), (rows, rows))
  logps_BT, lse_BT = run(x_BTD, w_VD, tokens_BT, wanted_BT)
  return logps_BT, (x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT)


def _backward(temperature, residuals, g_BT):
  x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT = residuals
  batch, vocab, embed = _mesh_axes(x_BTD, w_VD)
  # Where the head's width is sharded over devices that have rows of their own, each device gets its
  # shard of the sum. Over the other devices with rows the gradient is summed whole.
  embed = embed if set(embed) <= set(batch) else ()
  rest = tuple(axis for axis in batch if axis not in embed)

  def shard(x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT, g_BT):
    g_BT = jnp.where(wanted_BT, g_BT, 0.0)
    row_N, count, (x_ND, *rows) = _wanted_first(wanted_BT, x_BTD, tokens_BT, lse_BT, g_BT)
    dx_ND, dw_VD = fused_head.gradients(
      x_ND, w_VD, *rows, count, temperature=temperature, axis=vocab or None
    )
    if vocab:
      dx_ND = jax.lax.psum(dx_ND, vocab)
    if embed:
      dw_VD = jax.lax.psum_scatter(dw_VD, embed, scatter_dimension=1, tiled=True)
    if rest:
      dw_VD = jax.lax.psum(dw_VD, rest)
    return _unflatten(dx_ND.astype(x_BTD.dtype), row_N, tokens_BT), dw_VD

  rows, words = P(batch or None), P(vocab or None)
  run = sharding.shard_map_here(
    shard, (rows, words, rows, rows, rows, rows), (rows, P(vocab or None, embed or None))
  )
  dx_BTD, dw_VD = run(x_BTD, w_VD, tokens_BT, wanted_BT, lse_BT, g_BT)
  return dx_BTD, dw_VD, None, None


_fused_logps.defvjp(_forward, _backward)
