"""Group Relative Policy Optimization (arXiv:2402.03300) and its kin.

The defaults are UnifiedReward-Think's. Others are settings of the same arithmetic: Dr.GRPO
(arXiv:2503.20783) divides by no standard deviation and by no length; DAPO (arXiv:2503.14476) clips
higher above than below, weighs tokens alike and shapes the rewards of over-long answers; GSPO
(arXiv:2507.18071) clips the ratio of the whole answer. configs/rl.py has a preset for each.

Q questions, G samples of each, B = Q * G sequences, T tokens.
"""

import dataclasses

import numpy as np

from cot_rm.algorithms import advantage_estimators, aggregation, choices, policy_gradient
from cot_rm.kernels import grpo_loss

KL_IN = "loss"


@dataclasses.dataclass(frozen=True)
class Config:
  clip_low: float = 0.2  # the ratio counts from 1 - clip_low
  clip_high: float = 0.2  # to 1 + clip_high
  kl: float = 0.04  # weight of the pull towards the reference policy
  kl_clamp: float = 10.0  # bound of the log-ratio in the KL estimator
  ratio: str = "token"  # of each token; "sequence": of its whole answer, the geometric mean
  normalize: str = "std"  # advantages count in their group's standard deviations; "none": as is
  epsilon: float = 1e-4  # added to a group's standard deviation
  aggregate: str = "sequence"  # how tokens add up to the loss, of aggregation.AGGREGATES
  max_tokens: int = 0  # most tokens of an answer; for aggregate "constant" and for `buffer`
  buffer: int = 0  # the last tokens before max_tokens, in which a reward sinks by up to 1; 0: none

  def __post_init__(self):
    choices.check(self, "ratio", ("token", "sequence"))
    choices.check(self, "normalize", ("std", "none"))
    aggregation.check(self)
    if not 0 <= self.buffer <= self.max_tokens and self.buffer:
      raise ValueError(
        f"{choices.knob(self, 'buffer')} is {self.buffer} of {self.max_tokens} tokens; set it to "
        f"0, or within {choices.knob(self, 'max_tokens')}"
      )


def advantages(rewards_QG, lengths_QG, settings, kl_QGT=None):
  """f32[Q, G]: how much better than its own group each sample did.

  In standard deviations (unbiased, n - 1) of the group where settings.normalize is "std". A reward
  that is NaN (it could not be computed) is left out of its group and gets advantage 0.

  Raises:
    ValueError: a group of one has nothing to compare with.
  """
  del kl_QGT  # the pull towards the reference is in the loss
  rewards_QG = np.asarray(rewards_QG, np.float32) + overlong(lengths_QG, settings)
  off_QG, count_Q1 = advantage_estimators.against_group(rewards_QG)
  if settings.normalize == "std":
    variance_Q1 = np.square(off_QG).sum(1, keepdims=True) / np.maximum(count_Q1 - 1, 1)
    off_QG = off_QG / (np.sqrt(variance_Q1) + settings.epsilon)
  return off_QG.astype(np.float32)


def overlong(lengths_QG, settings):
  """f32[Q, G]: DAPO's soft punishment (its eq. 13), counted in tokens.

  0 up to max_tokens - buffer, from there down in a line to -1 at max_tokens.
  """
  lengths_QG = np.asarray(lengths_QG, np.float32)
  if not settings.buffer:
    return np.zeros_like(lengths_QG)
  past_QG = lengths_QG - (settings.max_tokens - settings.buffer)
  return -np.clip(past_QG / settings.buffer, 0, 1)


def loss(logps_BT, batch, weights_BT, settings):
  """-min(r A, clip(r) A) + kl * k3, added up by `weights_BT`; metrics of policy_gradient.

  r is the ratio to the policy that sampled. Where `ref_logps` is None there is no KL term.
  """
  log_ratio = {"token": policy_gradient.log_ratio, "sequence": policy_gradient.log_ratio_of_answers}
  log_ratio_BT = log_ratio[settings.ratio](logps_BT, batch)
  loss_BT = policy_gradient.loss(log_ratio_BT, batch, settings)
  if batch.ref_logps is not None:
    loss_BT = loss_BT + settings.kl * grpo_loss.k3(logps_BT, batch.ref_logps, settings.kl_clamp)
  total = (loss_BT * weights_BT).sum()
  return total, {
    "train/loss": total,
    **policy_gradient.metrics(log_ratio_BT, logps_BT, batch, settings),
  }
