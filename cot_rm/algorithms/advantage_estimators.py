"""Advantages from rewards: relative to the group, or to all tokens of a rollout. In numpy.

Q prompts, G samples of each prompt, T tokens of an answer. Arithmetic is in float64, where the
mean of equal float32 rewards is exactly that reward: a zero-variance group has advantages of
exactly 0. A reward of NaN (it could not be computed) is left out and gets advantage 0.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class WhiteningSettings(Protocol):
  """Fields that `whitened_returns` reads."""

  @property
  def kl(self) -> float:
    """Weight of the KL penalty in the reward; 0: none."""
    ...

  @property
  def reward_bound(self) -> float:
    """Rewards are clamped to -reward_bound .. reward_bound."""
    ...

  @property
  def epsilon(self) -> float:
    """Lower bound of the variance of the returns; they are divided by its square root."""
    ...


def subtract_group_mean(rewards_QG: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
  """(f64[Q, G]: rewards minus the mean of their group, i64[Q, 1]: known rewards of each group).

  Raises:
    ValueError: a group has a single sample.
  """
  rewards_QG = np.asarray(rewards_QG, np.float32).astype(np.float64)
  if rewards_QG.shape[1] < 2:
    raise ValueError(
      f"rewards_QG: a group of {rewards_QG.shape[1]} has no other samples to compare with; sample "
      f"2 or more for each prompt (config.rl.group)"
    )
  known_QG = ~np.isnan(rewards_QG)
  count_Q1 = known_QG.sum(1, keepdims=True)
  mean_Q1 = np.where(known_QG, rewards_QG, 0).sum(1, keepdims=True) / np.maximum(count_Q1, 1)
  return np.where(known_QG, rewards_QG - mean_Q1, 0), count_Q1


def token_returns(
  rewards_QG: npt.ArrayLike, lengths_QG: npt.ArrayLike, kl: float, kl_QGT: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Returns G_t = sum over u >= t of r_u, with r_u = -kl * k_u, and the reward at the last token.

  Without a KL penalty all tokens of an answer have the same return, and T is 1.

  Args:
    rewards_QG: the reward of each answer.
    lengths_QG: tokens of each answer.
    kl: weight of the penalty; 0: none.
    kl_QGT: k1 = log p(sampling policy) - log p(reference) at each token. T is at least the longest
      answer; values after the end of an answer are ignored.

  Returns:
    (f64[Q, G, T] returns, i64[Q, G, T] number of tokens that each entry stands for; 0 for padding
    and where the reward is NaN).

  Raises:
    ValueError: kl is not 0, and kl_QGT is missing or too short.
  """
  rewards_QG = np.asarray(rewards_QG, np.float32).astype(np.float64)
  lengths_QG = np.asarray(lengths_QG)
  known_QG = ~np.isnan(rewards_QG)
  if not kl:
    return rewards_QG[..., None], (lengths_QG * known_QG)[..., None]
  if kl_QGT is None or kl_QGT.shape[-1] < lengths_QG.max():
    given = "is None" if kl_QGT is None else f"has {kl_QGT.shape[-1]} tokens"
    raise ValueError(
      f"a KL weight of {kl} needs kl_QGT, the log-ratios to the reference, of answers of up to "
      f"{lengths_QG.max()} tokens; it {given}"
    )
  counts_QGT = (np.arange(kl_QGT.shape[-1]) < lengths_QG[..., None]) & known_QG[..., None]
  penalties_QGT = np.where(counts_QGT, kl * np.asarray(kl_QGT, np.float64), 0)
  to_come_QGT = np.cumsum(penalties_QGT[..., ::-1], axis=-1)[..., ::-1]
  return rewards_QG[..., None] - to_come_QGT, counts_QGT.astype(np.int64)


def whitened_returns(
  rewards_QG: npt.ArrayLike,
  lengths_QG: npt.ArrayLike,
  settings: WhiteningSettings,
  kl_QGT: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
  """(return - mean) / standard deviation, of each token of the rollout (REINFORCE++).

  Mean and (population) variance are over all tokens, so that a long answer weighs more. The
  rewards are those of all processes; they are clipped to +-settings.reward_bound first.

  Args:
    rewards_QG, lengths_QG, kl_QGT: see `token_returns`.

  Returns:
    (f64[Q, G, T] z-scores, the mean return; T as in `token_returns`).
  """
  bounded_QG = np.clip(np.asarray(rewards_QG), -settings.reward_bound, settings.reward_bound)
  returns_QGT, counts_QGT = token_returns(bounded_QG, lengths_QG, settings.kl, kl_QGT)
  total = max(counts_QGT.sum(), 1)
  mean = np.where(counts_QGT, returns_QGT * counts_QGT, 0).sum() / total
  off_QGT = np.where(counts_QGT, returns_QGT - mean, 0)
  variance = (np.square(off_QGT) * counts_QGT).sum() / total
  return off_QGT / np.sqrt(max(variance, settings.epsilon)), mean


def as_advantages(z_QGT: np.ndarray, *, by_token: bool) -> np.ndarray:
  """f32[Q, G, T], or f32[Q, G] where all tokens of an answer have the same advantage."""
  z_QGT = z_QGT.astype(np.float32)
  return z_QGT if by_token else z_QGT[..., 0]


def effective_groups(advantages: npt.ArrayLike) -> dict[str, float]:
  """{"rl/effective_groups": fraction of the sampled groups with an advantage other than 0}.

  Only these groups have a gradient. A zero-variance group is not among them if the baseline is the
  group's mean, but may be if the baseline is the mean of the rollout; a group with variance is not
  if a filter removes all of its advantages.

  Args:
    advantages: f32[Q, G] or f32[Q, G, T], 0 after the end of an answer.
  """
  advantages = np.asarray(advantages)
  signal_Q = (advantages != 0).reshape(len(advantages), -1).any(1)
  return {"rl/effective_groups": signal_Q.mean()}


def zero_advantages(
  advantages: npt.ArrayLike, lengths_QG: npt.ArrayLike, right_QG: npt.ArrayLike
) -> dict[str, float]:
  """Fractions of tokens with advantage 0, which have no gradient.

  Args:
    advantages: f32[Q, G] or f32[Q, G, T].
    lengths_QG: tokens of each answer.
    right_QG: 1 for a right answer, 0 for a wrong one, NaN where that is unknown.

  Returns:
    {"rl/filtered": of all tokens, "rl/filtered_right": of those of right answers,
    "rl/filtered_wrong": of those of wrong answers}; NaN without such tokens.
  """
  lengths_QG, right_QG = np.asarray(lengths_QG), np.asarray(right_QG)
  zero = np.asarray(advantages) == 0
  if zero.ndim == 2:
    zeros_QG = zero * lengths_QG
  else:
    zeros_QG = (zero & (np.arange(zero.shape[-1]) < lengths_QG[..., None])).sum(-1)

  def fraction(chosen_QG: np.ndarray) -> float:
    tokens = lengths_QG[chosen_QG].sum()
    return float(zeros_QG[chosen_QG].sum() / tokens) if tokens else np.nan

  return {
    "rl/filtered": fraction(np.ones(lengths_QG.shape, bool)),
    "rl/filtered_right": fraction(right_QG == 1),
    "rl/filtered_wrong": fraction(right_QG == 0),
  }
