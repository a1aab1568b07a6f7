"""From logits to a token. B sequences, V vocabulary."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How tokens are drawn."""

  temperature: float = 0.0  # 0: greedy, the likeliest token
  top_p: float = 1.0  # only the likeliest tokens that together reach this probability; 1: all
  top_k: int = 0  # only this many of the likeliest tokens; 0: all
  max_tokens: int = 64  # an answer is cut here

  def __post_init__(self):
    for name, good in (
      ("temperature", self.temperature >= 0),
      ("top_p", 0 < self.top_p <= 1),
      ("top_k", self.top_k >= 0),
      ("max_tokens", self.max_tokens > 0),
    ):
      if not good:
        raise ValueError(f"sampling: {name} {getattr(self, name)} is out of range")


def pick(logits_BV, keys_B, sampling, banned=()):
  """One token a row, row b drawn with keys_B[b], which greedy ignores; never one of `banned`.

  Returns:
    i32[B] tokens; f32[B] their log-probability under the distribution they were drawn from; and
    f32[B] log sum exp(logits), banned ones too: logits less this are the model's log-probabilities.
  """
  allowed_V = np.ones(logits_BV.shape[-1], bool)
  allowed_V[list(banned)] = False
  if sampling.temperature == 0:
    token_B = jnp.argmax(jnp.where(allowed_V, logits_BV, -jnp.inf), axis=-1).astype(jnp.int32)
    return token_B, jnp.zeros(len(logits_BV)), jax.nn.logsumexp(logits_BV, axis=-1)
  if sampling.temperature == 1 and not sampling.top_k and sampling.top_p == 1:
    # One pass over the vocabulary serves both sums.
    token_B, drawn_B, total_B = _draw(logits_BV, allowed_V, keys_B)
    if banned:
      total_B = jnp.logaddexp(total_B, jax.nn.logsumexp(logits_BV[:, ~allowed_V], axis=-1))
    return token_B, drawn_B, total_B
  scaled_BV = jnp.where(allowed_V, logits_BV, -jnp.inf) / sampling.temperature
  if sampling.top_k:
    scaled_BV = keep_top_k(scaled_BV, sampling.top_k)
  if sampling.top_p < 1:
    scaled_BV = keep_top_p(scaled_BV, sampling.top_p)
  token_B, drawn_B, _ = _draw(scaled_BV, allowed_V, keys_B)
  return token_B, drawn_B, jax.nn.logsumexp(logits_BV, axis=-1)


def columns(V):
  """W: a vocabulary is drawn from as rows of W tokens, column by column, then what is left over."""
  return 2 ** round(math.log2(V) / 2)


def _draw(scaled_BV, allowed_V, keys_B):
  """The token at which the running sum of exp(scaled) goes past a random share of the whole.

  One random number a row, not one a token; and a running sum over W columns and then inside of one,
  as that over a vocabulary costs more than the softmax. Columns, since a sum over rows of many
  columns at a time is what a processor does in vectors.

  Returns:
    i32[B] tokens, f32[B] their log-probability, and f32[B] log sum exp(scaled) of allowed tokens.
  """
  B, V = scaled_BV.shape
  W = columns(V)
  N = V // W
  top_B1 = jnp.where(allowed_V, scaled_BV, -jnp.inf).max(-1, keepdims=True)
  weigh = lambda x, allowed, top: jnp.where(allowed, jnp.exp(x - top), 0)
  rows_BNW, allowed_NW = scaled_BV[:, : N * W].reshape(B, N, W), allowed_V[: N * W].reshape(N, W)
  rest = weigh(scaled_BV[:, N * W :], allowed_V[N * W :], top_B1)
  sums = [weigh(rows_BNW, allowed_NW, top_B1[:, None]).sum(1), rest]  # each of the rest is a column
  running = jnp.cumsum(jnp.concatenate(sums, axis=-1), axis=-1)
  past_B = jax.vmap(jax.random.uniform)(keys_B) * running[:, -1]
  column_B = _first(running, past_B)
  before_B = jnp.take_along_axis(running, jnp.maximum(column_B - 1, 0)[:, None], axis=1)[:, 0]
  past_B -= jnp.where(column_B > 0, before_B, 0)
  w_B = jnp.minimum(column_B, W - 1)
  column_BN = jnp.take_along_axis(rows_BNW, w_B[:, None, None], axis=2)[:, :, 0]
  column_BN = weigh(column_BN, jnp.asarray(allowed_NW.T)[w_B], top_B1)
  row_B = _first(jnp.cumsum(column_BN, axis=-1), past_B)
  token_B = jnp.where(column_B < W, row_B * W + column_B, N * W + column_B - W)
  total_B = top_B1[:, 0] + jnp.log(running[:, -1])
  return token_B, jnp.take_along_axis(scaled_BV, token_B[:, None], axis=1)[:, 0] - total_B, total_B


def _first(sums_BN, past_B):
  """i32[B]: the first place whose running sum is above `past`, among those that add to it."""
  # A place without weight adds nothing to the sum: it is neither first above the number, nor where
  # rounding brings the number up to the whole sum, first to reach that.
  above_B = (sums_BN <= past_B[:, None]).sum(-1, dtype=jnp.int32)
  whole_B = (sums_BN < sums_BN[:, -1:]).sum(-1, dtype=jnp.int32)
  return jnp.minimum(above_B, whole_B)


def keep_top_k(logits_BV, k):
  """-inf for all but the k largest (and what equals the smallest of them)."""
  least_B1 = jax.lax.top_k(logits_BV, min(k, logits_BV.shape[-1]))[0][:, -1:]
  return jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)


def keep_top_p(logits_BV, p):
  """-inf for all but the smallest set of likeliest tokens whose probability reaches p."""
  order_BV = jnp.argsort(-logits_BV, axis=-1)
  probs_BV = jax.nn.softmax(jnp.take_along_axis(logits_BV, order_BV, axis=-1), axis=-1)
  # A token stays while what is likelier than it has not reached p: the first always does.
  kept_BV = jnp.cumsum(probs_BV, axis=-1) - probs_BV < p
  unsorted_BV = jnp.take_along_axis(kept_BV, jnp.argsort(order_BV, axis=-1), axis=-1)
  return jnp.where(unsorted_BV, logits_BV, -jnp.inf)
