"""From logits to a token. B sequences, V vocabulary."""

import dataclasses
import math

import jax
import jax.numpy as jnp


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


def pick(logits_BV, keys_B, sampling):
  """One token a row, row b drawn with keys_B[b], which greedy ignores.

  Returns:
    i32[B] tokens, and f32[B] their log-probability under the distribution they were drawn from.
  """
  if sampling.temperature == 0:
    return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32), jnp.zeros(len(logits_BV))
  scaled_BV = logits_BV / sampling.temperature
  if sampling.top_k:
    scaled_BV = keep_top_k(scaled_BV, sampling.top_k)
  if sampling.top_p < 1:
    scaled_BV = keep_top_p(scaled_BV, sampling.top_p)
  weights_BV = jnp.exp(scaled_BV - scaled_BV.max(-1, keepdims=True))
  token_B = _draw(weights_BV, jax.vmap(jax.random.uniform)(keys_B))
  weight_B = jnp.take_along_axis(weights_BV, token_B[:, None], axis=-1)[:, 0]
  return token_B, jnp.log(weight_B / weights_BV.sum(-1))


def _draw(weights_BV, at_B):
  """i32[B]: the token at which a row's running sum goes past the share `at` of the whole.

  One random number a row, not one a token. The sum runs over blocks, then inside of one: a running
  sum over a vocabulary costs more than the softmax.
  """
  V = weights_BV.shape[-1]
  W = 2 ** round(math.log2(V) / 2)  # about as many blocks as a block has tokens
  blocks_BNW = jnp.pad(weights_BV, ((0, 0), (0, -V % W))).reshape(len(weights_BV), -1, W)
  sums_BN = jnp.cumsum(blocks_BNW.sum(-1), axis=-1)
  past_B = at_B * sums_BN[:, -1]
  n_B1 = _first(sums_BN, past_B)[:, None]
  before_B = jnp.where(n_B1 > 0, jnp.take_along_axis(sums_BN, jnp.maximum(n_B1 - 1, 0), 1), 0)[:, 0]
  block_BW = jnp.take_along_axis(blocks_BNW, n_B1[:, :, None], axis=1)[:, 0]
  w_B = _first(jnp.cumsum(block_BW, axis=-1), past_B - before_B)
  return n_B1[:, 0] * W + w_B


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
