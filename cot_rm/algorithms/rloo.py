"""REINFORCE with a leave-one-out baseline (arXiv:2402.14740): the mean reward of the other samples.

Q prompts, G samples of each prompt, B = Q * G sequences, T tokens.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from cot_rm.algorithms import advantage_estimators, aggregation, interface, policy_gradient
from cot_rm.algorithms.interface import Aggregate, KlIn

KL_IN: KlIn = "reward"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  clip_low: float  # the ratio is clipped to 1 - clip_low
  clip_high: float  # and to 1 + clip_high
  kl: float  # weight of the log-ratio to the reference, subtracted from the reward
  aggregate: Aggregate  # of the loss over tokens, see aggregation.token_weights
  max_tokens: int  # tokens of an answer, at most; for aggregate "constant"

  def __post_init__(self) -> None:
    interface.check_choices(self)
    aggregation.check(self)


def advantages(
  rewards_QG: npt.ArrayLike,
  lengths_QG: npt.ArrayLike,
  settings: Config,
  kl_QGT: np.ndarray | None = None,
) -> np.ndarray:
  """f32[Q, G]: the reward of each sample minus the mean of the other samples of its prompt.

  The reward is the whole answer's: R - kl * log(p / p_reference). A reward of NaN is left out of
  its group and gets advantage 0.

  Raises:
    ValueError: a group has a single sample.
  """
  returns_QGT, _ = advantage_estimators.token_returns(rewards_QG, lengths_QG, settings.kl, kl_QGT)
  # The first token's return is the answer's. r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1)
  off_QG, count_Q1 = advantage_estimators.subtract_group_mean(returns_QGT[..., 0])
  return (off_QG * count_Q1 / np.maximum(count_Q1 - 1, 1)).astype(np.float32)


loss = policy_gradient.loss
