"""Sampling parameters, and sampling of tokens from logits. B sequences, V vocabulary, W labels."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """Sampling parameters; they apply in the order repetition penalty, temperature, top-k, top-p."""

  temperature: float  # 0: greedy
  top_p: float = 1.0  # keep the likeliest tokens that together reach this probability; 1: all
  top_k: int = 0  # keep this many of the likeliest tokens; 0: all
  max_tokens: int  # an answer is cut here
  # Of the log-probabilities that are returned, not of the sampling; None: the temperature.
  logps_temperature: float | None = 1.0
  # Divides the positive logits of tokens that are in the prompt or the answer, and multiplies the
  # negative ones (arXiv:1909.05858). 1: none; None: as the checkpoint's generation_config.json.
  repetition_penalty: float | None = 1.0

  def __post_init__(self) -> None:
    for name, valid, wanted in (
      ("temperature", self.temperature >= 0, "0 or more"),
      ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
      ("top_k", self.top_k >= 0, "0 (all) or more"),
      ("max_tokens", self.max_tokens > 0, "1 or more"),
      ("logps_temperature", self.logps_at > 0, "above 0, or None with a temperature above 0"),
      (
        "repetition_penalty",
        self.repetition_penalty is None or self.repetition_penalty > 0,
        "above 0, or None",
      ),
    ):
      if not valid:
        raise ValueError(
          f"sampling: {name} {getattr(self, name)} is out of range; it must be {wanted}"
        )

  @property
  def logps_at(self) -> float:
    """The temperature of the log-probabilities that are returned."""
    return self.temperature if self.logps_temperature is None else self.logps_temperature


class TokenIds(NamedTuple):
  """Token ids that the sampler treats specially."""

  stop: tuple[int, ...]  # end an answer
  banned: tuple[int, ...]  # are never sampled
  label: tuple[int, ...] = ()  # have their log-probability recorded at every step


class SampledTokens(NamedTuple):
  """The next token of each sequence."""

  token_B: jax.Array  # i32
  # f32, of the model at `logps_temperature`: before top-p, top-k and banned tokens, which a trainer
  # does not see
  logp_B: jax.Array
  sampling_logp_B: jax.Array  # f32, of the distribution sampled from
  label_logps_BW: jax.Array  # f32, of the model, of the label tokens
  top_logp_B: jax.Array  # f32, of the model, of its likeliest token


def sample_tokens(
  logits_VB: jax.Array,
  keys_B: jax.Array,
  sampling: Sampling,
  *,
  banned_ids: Sequence[int] = (),
  label_ids: Sequence[int] = (),
  seen_VB: jax.Array | None = None,
) -> SampledTokens:
  """Samples one token per sequence.

  Args:
    logits_VB: f32. The vocabulary comes first: the product with the head is fastest that way, and a
      pass over the vocabulary takes all sequences at a time.
    keys_B: a random key per sequence; greedy decoding ignores them.
    sampling: parameters; max_tokens is ignored.
    banned_ids: tokens that are never sampled.
    label_ids: tokens whose log-probability is returned.
    seen_VB: bool, the tokens in each sequence; needed with a repetition penalty.
  """
  labels, banned = np.array(label_ids, np.int32), runs(banned_ids)
  banned_sum_B = banned_max_B = -jnp.inf
  if banned:
    banned_CB = jnp.concatenate([logits_VB[a:b] for a, b in banned])
    banned_sum_B, banned_max_B = jax.nn.logsumexp(banned_CB, axis=0), banned_CB.max(0)
  model_logits_VB = logits_VB
  for first, end in banned:  # slices: a scatter of many rows is slow
    logits_VB = logits_VB.at[first:end].set(-jnp.inf)
  penalty = sampling.repetition_penalty
  penalized_VB = logits_VB if penalty == 1 else _penalized(logits_VB, seen_VB, penalty)
  if sampling.temperature == 0:
    token_B = jnp.argmax(penalized_VB, axis=0).astype(jnp.int32)
    sampling_logp_B, sum_B = jnp.zeros(len(token_B)), jax.nn.logsumexp(logits_VB, axis=0)
  elif (sampling.temperature, sampling.top_k, sampling.top_p, penalty) == (1, 0, 1, 1):
    token_B, sampling_logp_B, sum_B = _draw(logits_VB, keys_B)  # sum_B: the model's, too
  else:
    token_B, sampling_logp_B, _ = _draw(_reshaped(penalized_VB, sampling), keys_B)
    sum_B = jax.nn.logsumexp(logits_VB, axis=0)
  sum_B = jnp.logaddexp(sum_B, banned_sum_B)
  T = sampling.logps_at
  if T == 1:
    logp_B = _take(logits_VB, token_B) - sum_B
  else:
    logp_B = _take(logits_VB, token_B) / T - jax.nn.logsumexp(model_logits_VB / T, axis=0)
  label_logps_BW = logits_VB[labels].T - sum_B[:, None]
  # The sums over the vocabulary need this maximum, too: it costs no pass of its own.
  top_logp_B = jnp.maximum(logits_VB.max(0), banned_max_B) - sum_B
  return SampledTokens(token_B, logp_B, sampling_logp_B, label_logps_BW, top_logp_B)


def runs(ids: Sequence[int]) -> list[tuple[int, int]]:
  """(first, end) of each run of neighbouring ids."""
  found: list[tuple[int, int]] = []
  for i in sorted(set(ids)):
    if found and found[-1][1] == i:
      found[-1] = found[-1][0], i + 1
    else:
      found.append((i, i + 1))
  return found


def _penalized(logits_VB, seen_VB, penalty):
  """Logits after the repetition penalty."""
  lower_VB = jnp.where(logits_VB > 0, logits_VB / penalty, logits_VB * penalty)
  return jnp.where(seen_VB, lower_VB, logits_VB)


def _reshaped(logits_VB, sampling):
  """Logits after temperature, top-k and top-p."""
  scaled_BV = logits_VB.T / sampling.temperature
  if sampling.top_k:
    scaled_BV = keep_top_k(scaled_BV, sampling.top_k)
  if sampling.top_p < 1:
    scaled_BV = keep_top_p(scaled_BV, sampling.top_p)
  return scaled_BV.T


def _draw(logits_VB, keys_B):
  """Inverse-CDF sampling: the first token whose cumulative weight exceeds u * (sum of weights).

  One uniform number per sequence, not one per token. The cumulative sum runs over N groups of G
  neighbouring tokens, then inside one group: over the whole vocabulary it costs more than softmax.

  Returns:
    i32[B] tokens, f32[B] their log-probability, and f32[B] log sum exp(logits).
  """
  V, B = logits_VB.shape
  G = 2 ** round(math.log2(V) / 2)
  N = V // G
  max_B = logits_VB.max(0)

  def weights(x):
    return jnp.exp(x - max_B.reshape((1,) * (x.ndim - 1) + (B,)))

  whole_NB = weights(logits_VB[: N * G].reshape(N, G, B)).sum(1)
  rest_1B = weights(logits_VB[N * G :]).sum(0, keepdims=True)
  cumulative_NB = jnp.cumsum(jnp.concatenate([whole_NB, rest_1B]), axis=0)
  threshold_B = jax.vmap(jax.random.uniform)(keys_B) * cumulative_NB[-1]
  group_B = _first_above(cumulative_NB, threshold_B)
  before_B = jnp.where(group_B > 0, _take(cumulative_NB, jnp.maximum(group_B - 1, 0)), 0)
  index_GB = group_B[None] * G + np.arange(G)[:, None]
  inside_GB = jnp.take_along_axis(
    logits_VB, index_GB, axis=0, mode="fill", fill_value=-jnp.inf
  )  # the last group is shorter
  token_B = group_B * G + _first_above(
    jnp.cumsum(weights(inside_GB), axis=0), threshold_B - before_B
  )
  sum_B = max_B + jnp.log(cumulative_NB[-1])
  return token_B, _take(logits_VB, token_B) - sum_B, sum_B


def _take(x_NB, index_B):
  """x_NB[index_B[b], b] for each b."""
  return jnp.take_along_axis(x_NB, index_B[None], axis=0)[0]


def _first_above(cumulative_NB, threshold_B):
  """i32[B]: first index with a cumulative sum above the threshold, among those of weight > 0."""
  # An index of weight 0 repeats the sum before it: it is never the first above the threshold, nor,
  # if rounding brings the threshold up to the whole sum, the first to reach that.
  above_B = (cumulative_NB <= threshold_B[None]).sum(0, dtype=jnp.int32)
  last_B = (cumulative_NB < cumulative_NB[-1:]).sum(0, dtype=jnp.int32)
  return jnp.minimum(above_B, last_B)


def keep_top_k(logits_BV: jax.Array, k: int) -> jax.Array:
  """-inf for all but the k largest logits (and those equal to the smallest of the k)."""
  smallest_B1 = jax.lax.top_k(logits_BV, min(k, logits_BV.shape[-1]))[0][:, -1:]
  return jnp.where(logits_BV >= smallest_B1, logits_BV, -jnp.inf)


def keep_top_p(logits_BV: jax.Array, p: float) -> jax.Array:
  """-inf for all but the smallest set of likeliest tokens whose probability reaches p."""
  order_BV = jnp.argsort(-logits_BV, axis=-1)
  probs_BV = jax.nn.softmax(jnp.take_along_axis(logits_BV, order_BV, axis=-1), axis=-1)
  # Keep a token while the likelier ones have not reached p: the first is always kept.
  keep_BV = jnp.cumsum(probs_BV, axis=-1) - probs_BV < p
  unsorted_BV = jnp.take_along_axis(keep_BV, jnp.argsort(order_BV, axis=-1), axis=-1)
  return jnp.where(unsorted_BV, logits_BV, -jnp.inf)
