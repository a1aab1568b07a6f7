"""Group Relative Policy Optimization (arXiv:2402.03300), as UnifiedReward-Think uses it.

Q questions, G samples of each, B = Q * G sequences, T tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from cot_rm.algorithms import masked


@dataclasses.dataclass(frozen=True)
class Config:
  clip: float = 0.2  # the ratio counts within 1 +- clip
  kl: float = 0.04  # weight of the pull towards the reference policy
  kl_clamp: float = 10.0  # bound of the log-ratio in the KL estimator
  epsilon: float = 1e-4  # added to a group's standard deviation


def advantages(rewards_QG, settings):
  """How much better than its own group each sample did, in standard deviations (unbiased, n - 1).

  A reward that is NaN (it could not be computed) is left out of its group and gets advantage 0.

  Raises:
    ValueError: a group of one has nothing to compare with.
  """
  rewards_QG = np.asarray(rewards_QG, np.float32)
  if rewards_QG.shape[1] < 2:
    raise ValueError(
      f"a group of {rewards_QG.shape[1]} teaches nothing: GRPO compares the samples "
      f"of one question; raise config.rl.group to 2 or more"
    )
  known_QG = ~np.isnan(rewards_QG)
  count_Q1 = known_QG.sum(1, keepdims=True)
  filled_QG = np.where(known_QG, rewards_QG, 0.0)
  mean_Q1 = filled_QG.sum(1, keepdims=True) / np.maximum(count_Q1, 1)
  off_QG = np.where(known_QG, rewards_QG - mean_Q1, 0.0)
  std_Q1 = np.sqrt(np.square(off_QG).sum(1, keepdims=True) / np.maximum(count_Q1 - 1, 1))
  return (off_QG / (std_Q1 + settings.epsilon)).astype(np.float32)


def loss(logps_BT, batch, settings):
  """-min(r A, clip(r) A) + kl * k3, mean within each answer, then over answers.

  r is the ratio to the policy that sampled. Where `ref_logps` is None there is no KL term.
  "agree/..." is how far the log-probabilities lie from the sampler's: in the first update after
  a rollout the weights are the same, and what differs is rounding.
  """
  apart_BT = jnp.abs(jax.lax.stop_gradient(logps_BT) - batch.old_logps)
  ratio_BT = jnp.exp(logps_BT - batch.old_logps)
  clipped_BT = jnp.clip(ratio_BT, 1 - settings.clip, 1 + settings.clip)
  loss_BT = -jnp.minimum(ratio_BT * batch.advantages, clipped_BT * batch.advantages)
  metrics = {
    "train/clip_fraction": masked.mean(ratio_BT != clipped_BT, batch.mask),
    "train/ratio_max": jnp.where(batch.mask > 0, ratio_BT, 0.0).max(),
    "agree/logp_diff_mean": masked.mean(apart_BT, batch.mask),
    "agree/logp_diff_max": (apart_BT * batch.mask).max(),
    "train/entropy_sampled": -masked.mean(jax.lax.stop_gradient(logps_BT), batch.mask),
  }
  if batch.ref_logps is not None:
    kl_BT = k3(logps_BT, batch.ref_logps, settings.kl_clamp)
    loss_BT = loss_BT + settings.kl * kl_BT
    metrics["train/kl"] = masked.mean(kl_BT, batch.mask)
  total = masked.sequence_mean(loss_BT, batch.mask)
  return total, {"train/loss": total, **metrics}


def k3(logps_BT, ref_logps_BT, clamp):
  """Schulman's estimator of KL(policy, reference): unbiased, never negative, low variance.

  Source: http://joschu.net/blog/kl-approx.html
  """
  log_ratio_BT = jnp.clip(ref_logps_BT - logps_BT, -clamp, clamp)
  return jnp.expm1(log_ratio_BT) - log_ratio_BT
