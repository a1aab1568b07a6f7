"""From logits to a token. B sequences, V vocabulary."""

import dataclasses

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
  """i32[B]: one token a row, row b drawn with keys_B[b]. Greedy ignores the keys."""
  if sampling.temperature == 0:
    return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
  scaled_BV = logits_BV / sampling.temperature
  if sampling.top_k:
    scaled_BV = keep_top_k(scaled_BV, sampling.top_k)
  if sampling.top_p < 1:
    scaled_BV = keep_top_p(scaled_BV, sampling.top_p)
  # One random number a row, not one a token: where in the row's running sum of probabilities.
  sums_BV = jnp.cumsum(jax.nn.softmax(scaled_BV, axis=-1), axis=-1)
  at_B1 = jax.vmap(jax.random.uniform)(keys_B)[:, None] * sums_BV[:, -1:]
  # A token without probability adds nothing to the sum: it is neither first above the number, nor
  # where rounding brings the number up to the whole sum, first to reach that.
  above_B, whole_B = (sums_BV <= at_B1).sum(-1), (sums_BV < sums_BV[:, -1:]).sum(-1)
  return jnp.minimum(above_B, whole_B).astype(jnp.int32)


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
