"""From logits to a token. B sequences, V vocabulary."""

import dataclasses
import math
from typing import NamedTuple

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


class Picked(NamedTuple):
  """The token that each sequence goes on with."""

  token_B: jax.Array  # i32
  logp_B: jax.Array  # f32, of the model: before temperature, top-p, top-k and banned tokens
  drawn_B: jax.Array  # f32, of the distribution that it was drawn from
  watched_BW: jax.Array  # f32, of the model, of the tokens that are watched


def pick(logits_VB, keys_B, sampling, *, banned=(), watched=()):
  """One token a sequence, that of b drawn with keys_B[b], which greedy ignores; none of `banned`.

  Args:
    logits_VB: f32. The vocabulary comes first, as the product with the head makes it fastest, and
      so that a pass over it takes all sequences at a time.
  """
  banned, watched = np.array(banned, np.int32), np.array(watched, np.int32)
  others_B = jax.nn.logsumexp(logits_VB[banned], axis=0) if len(banned) else -jnp.inf
  logits_VB = logits_VB.at[banned].set(-jnp.inf)
  if sampling.temperature == 0:
    token_B = jnp.argmax(logits_VB, axis=0).astype(jnp.int32)
    drawn_B, total_B = jnp.zeros(len(token_B)), jax.nn.logsumexp(logits_VB, axis=0)
  elif sampling.temperature == 1 and not sampling.top_k and sampling.top_p == 1:
    token_B, drawn_B, total_B = _draw(logits_VB, keys_B)  # one pass serves both sums
  else:
    token_B, drawn_B, _ = _draw(_reshaped(logits_VB, sampling), keys_B)
    total_B = jax.nn.logsumexp(logits_VB, axis=0)
  total_B = jnp.logaddexp(total_B, others_B)
  return Picked(
    token_B, _at(logits_VB, token_B) - total_B, drawn_B, logits_VB[watched].T - total_B[:, None]
  )


def _reshaped(logits_VB, sampling):
  scaled_BV = logits_VB.T / sampling.temperature
  if sampling.top_k:
    scaled_BV = keep_top_k(scaled_BV, sampling.top_k)
  if sampling.top_p < 1:
    scaled_BV = keep_top_p(scaled_BV, sampling.top_p)
  return scaled_BV.T


def _draw(scaled_VB, keys_B):
  """The token at which the running sum of exp(scaled) goes past a random share of the whole.

  One random number a sequence, not one a token; and a running sum over groups of G neighbours and
  then inside of one group, as that over a vocabulary costs more than the softmax.

  Returns:
    i32[B] tokens, f32[B] their log-probability, and f32[B] log sum exp(scaled).
  """
  V, B = scaled_VB.shape
  G = 2 ** round(math.log2(V) / 2)
  N = V // G
  top_B = scaled_VB.max(0)
  weigh = lambda x: jnp.exp(x - top_B.reshape((1,) * (x.ndim - 1) + (B,)))
  whole_NB = weigh(scaled_VB[: N * G].reshape(N, G, B)).sum(1)
  rest_1B = weigh(scaled_VB[N * G :]).sum(0, keepdims=True)
  running_NB = jnp.cumsum(jnp.concatenate([whole_NB, rest_1B]), axis=0)
  past_B = jax.vmap(jax.random.uniform)(keys_B) * running_NB[-1]
  group_B = _first(running_NB, past_B)
  before_B = jnp.where(group_B > 0, _at(running_NB, jnp.maximum(group_B - 1, 0)), 0)
  place_GB = group_B[None] * G + np.arange(G)[:, None]
  inside_GB = jnp.take_along_axis(
    scaled_VB, place_GB, axis=0, mode="fill", fill_value=-jnp.inf
  )  # the last group is shorter
  token_B = group_B * G + _first(jnp.cumsum(weigh(inside_GB), axis=0), past_B - before_B)
  total_B = top_B + jnp.log(running_NB[-1])
  return token_B, _at(scaled_VB, token_B) - total_B, total_B


def _at(x_NB, place_B):
  """[B]: of each column what stands at its place."""
  return jnp.take_along_axis(x_NB, place_B[None], axis=0)[0]


def _first(sums_NB, past_B):
  """i32[B]: the first place whose running sum is above `past`, among those that add to it."""
  # A place without weight adds nothing to the sum: it is neither first above the number, nor where
  # rounding brings the number up to the whole sum, first to reach that.
  above_B = (sums_NB <= past_B[None]).sum(0, dtype=jnp.int32)
  whole_B = (sums_NB < sums_NB[-1:]).sum(0, dtype=jnp.int32)
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
