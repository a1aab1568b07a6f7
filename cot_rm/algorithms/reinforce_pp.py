"""REINFORCE++ (arXiv:2501.03262): no critic, no group; the whole rollout is the baseline.

Q questions, G samples of each (1 will do), B = Q * G sequences, T tokens.
"""

import dataclasses

from cot_rm.algorithms import advantage_estimators, aggregation, policy_gradient

KL_IN = "reward"


@dataclasses.dataclass(frozen=True)
class Config:
  clip_low: float = 0.2  # the ratio counts from 1 - clip_low
  clip_high: float = 0.2  # to 1 + clip_high
  kl: float = 0.0  # weight of the log-ratio to the reference, taken off each token's reward
  reward_bound: float = 10.0  # rewards are clamped to +- this
  epsilon: float = 1e-8  # least variance of the returns
  aggregate: str = "sequence"  # how tokens add up to the loss, of aggregation.AGGREGATES
  max_tokens: int = 0  # most tokens of an answer; for aggregate "constant"

  def __post_init__(self):
    aggregation.check(self)


def advantages(rewards_QG, lengths_QG, settings, kl_QGT=None):
  """f32[Q, G], or f32[Q, G, T] where settings.kl is not 0: advantage_estimators.against_batch.

  A reward that is NaN is left out and gets advantage 0.
  """
  z_QGT, _ = advantage_estimators.against_batch(rewards_QG, lengths_QG, settings, kl_QGT)
  return advantage_estimators.shaped(z_QGT, settings)


loss = policy_gradient.plain
