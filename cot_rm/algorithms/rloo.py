"""REINFORCE with a leave-one-out baseline (arXiv:2402.14740): the others' mean reward is the bar.

Q questions, G samples of each, B = Q * G sequences, T tokens.
"""

import dataclasses

import numpy as np

from cot_rm.algorithms import advantage_estimators, aggregation, policy_gradient

KL_IN = "reward"


@dataclasses.dataclass(frozen=True)
class Config:
  clip_low: float = 0.2  # the ratio counts from 1 - clip_low
  clip_high: float = 0.2  # to 1 + clip_high
  kl: float = 0.0  # weight of the log-ratio to the reference, taken off the reward
  aggregate: str = "sequence"  # how tokens add up to the loss, of aggregation.AGGREGATES
  max_tokens: int = 0  # most tokens of an answer; for aggregate "constant"

  def __post_init__(self):
    aggregation.check(self)


def advantages(rewards_QG, lengths_QG, settings, kl_QGT=None):
  """f32[Q, G]: each sample's reward minus the mean of the other samples of its question.

  The reward is the whole answer's: R - kl * log(p / p_reference). One that is NaN is left out of
  its group and gets advantage 0.

  Raises:
    ValueError: a group of one has nothing to compare with.
  """
  returns_QGT, _ = advantage_estimators.of_tokens(rewards_QG, lengths_QG, settings.kl, kl_QGT)
  # The first token's return is the answer's. r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1)
  off_QG, count_Q1 = advantage_estimators.against_group(returns_QGT[..., 0])
  return (off_QG * count_Q1 / np.maximum(count_Q1 - 1, 1)).astype(np.float32)


loss = policy_gradient.plain
