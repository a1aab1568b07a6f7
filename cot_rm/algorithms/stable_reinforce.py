"""StableReinforce (R1-Reward, arXiv:2505.02835): REINFORCE++ with Pre-CLIP and advantage filter.

Pre-CLIP bounds the log-ratio before it is exponentiated: where the policy has moved far from the
sampling policy, PPO's loss of a token with a negative advantage has no bound. The filter removes
outliers among the advantages, which occur when nearly all rewards of a batch are equal.

Q prompts, G samples of each prompt (G may be 1), B = Q * G sequences, T tokens.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from cot_rm.algorithms import advantage_estimators, aggregation, interface, policy_gradient
from cot_rm.algorithms.interface import Aggregate, Array, KlIn, Metrics
from cot_rm.batch import Batch

KL_IN: KlIn = "reward"
RELEASED_LIMIT = 10.0  # the filter of the released code removes every |z| above


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  clip_low: float  # the ratio is clipped to 1 - clip_low
  clip_high: float  # and to 1 + clip_high
  preclip_low: float | None  # Pre-CLIP: lower bound of the ratio; None: no bound
  preclip_high: float | None  # Pre-CLIP: upper bound of the ratio; None: no bound
  filter: Literal["paper", "released", "none"]  # see `filter_mask`
  filter_bound: float  # of the filter, in standard deviations
  kl: float  # weight of the log-ratio to the reference, subtracted from each token's reward
  reward_bound: float  # rewards are clamped to -reward_bound .. reward_bound
  epsilon: float  # lower bound of the variance of the returns
  aggregate: Aggregate  # of the loss over tokens, see aggregation.token_weights
  max_tokens: int  # tokens of an answer, at most; for aggregate "constant"

  def __post_init__(self) -> None:
    interface.check_choices(self)
    aggregation.check(self)
    for name in ("preclip_low", "preclip_high"):
      bound = getattr(self, name)
      if bound is not None and bound <= 0:
        raise ValueError(
          f"{interface.field_name(self, name)} is {bound}; a bound of a ratio must be above 0, or "
          f"None for no bound"
        )


def advantages(
  rewards_QG: npt.ArrayLike,
  lengths_QG: npt.ArrayLike,
  settings: Config,
  kl_QGT: np.ndarray | None = None,
) -> np.ndarray:
  """f32[Q, G], or f32[Q, G, T] where settings.kl is not 0: whitened returns, filtered.

  A filtered advantage is 0; its tokens stay in the batch and count in the mean of the loss. A
  reward of NaN is left out and gets advantage 0.
  """
  z_QGT, mean = advantage_estimators.whitened_returns(rewards_QG, lengths_QG, settings, kl_QGT)
  filtered_QGT = np.where(filter_mask(z_QGT, mean, settings), z_QGT, 0)
  return advantage_estimators.as_advantages(filtered_QGT, by_token=bool(settings.kl))


def filter_mask(z_QGT: np.ndarray, mean: float, settings: Config) -> np.ndarray:
  """bool[Q, G, T]: whether the filter keeps an advantage.

  "paper": |z| <= filter_bound. "released", the rule of the released code: z within filter_bound of
  the mean of the returns (not of their z-scores), and |z| <= 10. With rewards of 2 and 0.5 it
  removes every wrong sample as soon as 69 % are right; the paper's rule, as soon as 90 % are.

  Args:
    z_QGT: z-scores of the returns.
    mean: of the returns themselves.
  """
  if settings.filter == "paper":
    return np.abs(z_QGT) <= settings.filter_bound
  if settings.filter == "released":
    return (np.abs(z_QGT - mean) <= settings.filter_bound) & (np.abs(z_QGT) <= RELEASED_LIMIT)
  return np.ones(z_QGT.shape, bool)


def loss(
  logps_BT: jax.Array, batch: Batch, weights_BT: Array, settings: Config
) -> tuple[jax.Array, Metrics]:
  """(sum of -min(r A, clip(r) A) by `weights_BT`, metrics), with r = exp(Pre-CLIP(log-ratio)).

  A token whose log-ratio Pre-CLIP bounds has no gradient. Metrics are those of
  policy_gradient.metrics, and train/preclip_fraction, the fraction of such tokens.
  """
  raw_BT = policy_gradient.log_ratio(logps_BT, batch)
  log_ratio_BT = jnp.clip(raw_BT, _log(settings.preclip_low), _log(settings.preclip_high))
  total = (policy_gradient.clipped_surrogate(log_ratio_BT, batch, settings) * weights_BT).sum()
  return total, {
    "train/loss": total,
    "train/preclip_fraction": aggregation.masked_mean(raw_BT != log_ratio_BT, batch.mask),
    **policy_gradient.metrics(log_ratio_BT, logps_BT, batch, settings),
  }


def _log(bound: float | None) -> float | None:
  return None if bound is None else math.log(bound)
