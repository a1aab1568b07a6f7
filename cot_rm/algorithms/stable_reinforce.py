"""StableReinforce (R1-Reward, arXiv:2505.02835): REINFORCE++ with Pre-CLIP and advantage filter.

Pre-CLIP bounds the log-ratio before it is exponentiated: where the policy has moved far from the
one that sampled, plain PPO's loss of a token with a negative advantage has no bound. The filter
takes out advantages far from the rest, which a batch of almost equal rewards blows up.

Q questions, G samples of each (1 will do), B = Q * G sequences, T tokens.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from cot_rm.algorithms import advantage_estimators, aggregation, choices, policy_gradient

KL_IN = "reward"
RELEASED_LIMIT = 10.0  # past which the released code's filter drops any z


@dataclasses.dataclass(frozen=True)
class Config:
  clip_low: float = 0.2  # the ratio counts from 1 - clip_low
  clip_high: float = 0.2  # to 1 + clip_high
  preclip_low: float | None = 1e-3  # Pre-CLIP: least ratio; None: no bound
  preclip_high: float | None = 1e3  # Pre-CLIP: greatest ratio; None: no bound
  filter: str = "paper"  # "paper", "released" or "none": see `kept`
  filter_bound: float = 3.0  # the filter's, in standard deviations
  kl: float = 0.0  # weight of the log-ratio to the reference, taken off each token's reward
  reward_bound: float = 10.0  # rewards are clamped to +- this
  epsilon: float = 1e-8  # least variance of the returns
  aggregate: str = "sequence"  # how tokens add up to the loss, of aggregation.AGGREGATES
  max_tokens: int = 0  # most tokens of an answer; for aggregate "constant"

  def __post_init__(self):
    choices.check(self, "filter", ("paper", "released", "none"))
    aggregation.check(self)
    for name in ("preclip_low", "preclip_high"):
      bound = getattr(self, name)
      if bound is not None and bound <= 0:
        raise ValueError(f"{choices.knob(self, name)} is {bound}: a ratio is above 0; None is off")


def advantages(rewards_QG, lengths_QG, settings, kl_QGT=None):
  """f32[Q, G], or f32[Q, G, T] where settings.kl is not 0: against_batch, filtered.

  What the filter drops gets advantage 0 and stays in the batch: it counts in the loss's mean. A
  reward that is NaN is left out and gets advantage 0.
  """
  z_QGT, mean = advantage_estimators.against_batch(rewards_QG, lengths_QG, settings, kl_QGT)
  return advantage_estimators.shaped(np.where(kept(z_QGT, mean, settings), z_QGT, 0), settings)


def kept(z_QGT, mean, settings):
  """bool[Q, G, T]: which advantages, in standard deviations, the filter lets through.

  "paper": |z| <= bound. "released": the window that the released code applies, which lies around
  the mean of the returns as they are, [mean - bound, mean + bound], and |z| <= 10. With rewards of
  2 and 0.5 it drops every wrong sample once 69 % are right, the paper's only once 90 % are.
  """
  if settings.filter == "paper":
    return np.abs(z_QGT) <= settings.filter_bound
  if settings.filter == "released":
    return (np.abs(z_QGT - mean) <= settings.filter_bound) & (np.abs(z_QGT) <= RELEASED_LIMIT)
  return np.ones(z_QGT.shape, bool)


def loss(logps_BT, batch, weights_BT, settings):
  """-min(r A, clip(r) A) with r = exp(Pre-CLIP(log-ratio)), added up by `weights_BT`.

  A token whose log-ratio is outside of Pre-CLIP's bounds has no gradient. Metrics as in
  policy_gradient.metrics, and train/preclip_fraction, the share of such tokens.
  """
  raw_BT = policy_gradient.log_ratio(logps_BT, batch)
  bound_BT = jnp.clip(raw_BT, _log(settings.preclip_low), _log(settings.preclip_high))
  total = (policy_gradient.loss(bound_BT, batch, settings) * weights_BT).sum()
  return total, {
    "train/loss": total,
    "train/preclip_fraction": aggregation.mean(raw_BT != bound_BT, batch.mask),
    **policy_gradient.metrics(bound_BT, logps_BT, batch, settings),
  }


def _log(bound):
  return None if bound is None else math.log(bound)
