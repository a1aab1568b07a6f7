"""Group Relative Policy Optimization (arXiv:2402.03300) and its variants.

The defaults are UnifiedReward-Think's. Variants are other settings of the same arithmetic: Dr.GRPO
(arXiv:2503.20783) divides by no standard deviation and by no length; DAPO (arXiv:2503.14476) clips
higher above than below, weighs all tokens alike and penalizes over-long answers; GSPO
(arXiv:2507.18071) clips the ratio of the whole answer. configs/rl.py has a preset for each.

Q prompts, G samples of each prompt, B = Q * G sequences, T tokens.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np
import numpy.typing as npt

from cot_rm.algorithms import advantage_estimators, aggregation, interface, policy_gradient
from cot_rm.algorithms.interface import Aggregate, Array, KlIn, Metrics
from cot_rm.batch import Batch
from cot_rm.kernels import grpo_loss

KL_IN: KlIn = "loss"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  clip_low: float  # the ratio is clipped to 1 - clip_low
  clip_high: float  # and to 1 + clip_high
  kl: float  # weight of the KL penalty to the reference policy
  kl_clamp: float  # bound of the log-ratio in the KL estimator
  ratio: Literal["token", "sequence"]  # of each token, or the geometric mean of an answer
  normalize: Literal["std", "none"]  # divide advantages by the group's standard deviation
  epsilon: float  # added to a group's standard deviation
  aggregate: Aggregate  # of the loss over tokens, see aggregation.token_weights
  max_tokens: int  # tokens of an answer, at most; for aggregate "constant" and for `buffer`
  buffer: int  # last tokens before max_tokens in which the reward falls by up to 1; 0: none

  def __post_init__(self) -> None:
    interface.check_choices(self)
    aggregation.check(self)
    if not 0 <= self.buffer <= self.max_tokens:
      raise ValueError(
        f"{interface.field_name(self, 'buffer')} is {self.buffer}; it must be from 0 to "
        f"max_tokens, {self.max_tokens}"
      )


def advantages(
  rewards_QG: npt.ArrayLike,
  lengths_QG: npt.ArrayLike,
  settings: Config,
  kl_QGT: np.ndarray | None = None,
) -> np.ndarray:
  """f32[Q, G]: rewards minus the mean of their group, after the over-long penalty.

  In standard deviations (unbiased, n - 1) of the group with settings.normalize "std". A reward of
  NaN (it could not be computed) is left out of its group and gets advantage 0.

  Raises:
    ValueError: a group has a single sample.
  """
  del kl_QGT  # the KL penalty is in the loss
  penalized_QG = np.asarray(rewards_QG, np.float32) + overlong_penalty(lengths_QG, settings)
  off_QG, count_Q1 = advantage_estimators.subtract_group_mean(penalized_QG)
  if settings.normalize == "std":
    variance_Q1 = np.square(off_QG).sum(1, keepdims=True) / np.maximum(count_Q1 - 1, 1)
    off_QG = off_QG / (np.sqrt(variance_Q1) + settings.epsilon)
  return off_QG.astype(np.float32)


def overlong_penalty(lengths_QG: npt.ArrayLike, settings: Config) -> np.ndarray:
  """f32[Q, G]: DAPO's soft over-long punishment (its eq. 13), by tokens.

  0 up to max_tokens - buffer, from there linear down to -1 at max_tokens.
  """
  lengths_QG = np.asarray(lengths_QG, np.float32)
  if not settings.buffer:
    return np.zeros_like(lengths_QG)
  past_QG = lengths_QG - (settings.max_tokens - settings.buffer)
  return -np.clip(past_QG / settings.buffer, 0, 1)


def loss(
  logps_BT: jax.Array, batch: Batch, weights_BT: Array, settings: Config
) -> tuple[jax.Array, Metrics]:
  """(sum of -min(r A, clip(r) A) + kl * k3 by `weights_BT`, metrics of policy_gradient).

  r is the ratio to the sampling policy. Without batch.ref_logps there is no KL term.
  """
  if settings.ratio == "token":
    log_ratio_BT = policy_gradient.log_ratio(logps_BT, batch)
  else:
    log_ratio_BT = policy_gradient.sequence_log_ratio(logps_BT, batch)
  loss_BT = policy_gradient.clipped_surrogate(log_ratio_BT, batch, settings)
  if batch.ref_logps is not None:
    loss_BT = loss_BT + settings.kl * grpo_loss.k3(logps_BT, batch.ref_logps, settings.kl_clamp)
  total = (loss_BT * weights_BT).sum()
  return total, {
    "train/loss": total,
    **policy_gradient.metrics(log_ratio_BT, logps_BT, batch, settings),
  }
