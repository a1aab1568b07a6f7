"""REINFORCE++ (arXiv:2501.03262): no critic, no group; the whole rollout is the baseline.

Q prompts, G samples of each prompt (G may be 1), B = Q * G sequences, T tokens.
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
  kl: float  # weight of the log-ratio to the reference, subtracted from each token's reward
  reward_bound: float  # rewards are clamped to -reward_bound .. reward_bound
  epsilon: float  # lower bound of the variance of the returns
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
  """f32[Q, G], or f32[Q, G, T] where settings.kl is not 0: whitened returns.

  A reward of NaN is left out and gets advantage 0.
  """
  z_QGT, _ = advantage_estimators.whitened_returns(rewards_QG, lengths_QG, settings, kl_QGT)
  return advantage_estimators.as_advantages(z_QGT, by_token=bool(settings.kl))


loss = policy_gradient.loss
