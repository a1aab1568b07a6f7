"""Common parts of policy-gradient losses: the importance ratio, its clip, and their metrics.

B rows, T tokens. A log-ratio above 88.7 overflows float32: as published, the loss or its gradient
is then not finite, the step is not taken and `train.check_finite` raises. Pre-CLIP bounds it
(stable_reinforce).
"""

from typing import Protocol

import jax
import jax.numpy as jnp

from cot_rm.algorithms import aggregation
from cot_rm.algorithms.interface import Array, Metrics
from cot_rm.batch import Batch
from cot_rm.kernels import grpo_loss

KL_CLAMP = 10.0  # bound of the log-ratio in the KL that is logged


class ClipSettings(Protocol):
  """Bounds of the importance ratio: 1 - clip_low and 1 + clip_high."""

  @property
  def clip_low(self) -> float: ...

  @property
  def clip_high(self) -> float: ...


def log_ratio(logps_BT: Array, batch: Batch) -> jax.Array:
  """f32[B, T]: log-ratio of the policy to the sampling policy; 0 at tokens outside the mask."""
  return jnp.where(batch.mask > 0, logps_BT - old_logps(batch), 0.0)


def sequence_log_ratio(logps_BT: Array, batch: Batch) -> jax.Array:
  """f32[B, T]: the mean log-ratio of the answer, at each of its tokens (GSPO, arXiv:2507.18071).

  The gradient at a token is that of its own log-probability (the paper's GSPO-token, eq. 13-14):
  the mean over the answer's tokens has the same gradient as GSPO's one ratio for each answer.
  """
  token_BT = log_ratio(logps_BT, batch)
  stop = jax.lax.stop_gradient
  return stop(aggregation.answer_mean(token_BT, batch)) + (token_BT - stop(token_BT))


def clipped_surrogate(log_ratio_BT: jax.Array, batch: Batch, settings: ClipSettings) -> jax.Array:
  """f32[B, T]: PPO's clipped loss of each token; see grpo_loss.clipped."""
  return grpo_loss.clipped(log_ratio_BT, advantages(batch), settings.clip_low, settings.clip_high)


def loss(
  logps_BT: jax.Array, batch: Batch, weights_BT: Array, settings: ClipSettings
) -> tuple[jax.Array, Metrics]:
  """(sum of `clipped_surrogate` by `weights_BT`, metrics), with the ratio of each token.

  In the first update after a rollout the ratio is 1, and the gradient is REINFORCE's.
  """
  log_ratio_BT = log_ratio(logps_BT, batch)
  total = (clipped_surrogate(log_ratio_BT, batch, settings) * weights_BT).sum()
  return total, {"train/loss": total, **metrics(log_ratio_BT, logps_BT, batch, settings)}


def metrics(
  log_ratio_BT: jax.Array, logps_BT: jax.Array, batch: Batch, settings: ClipSettings
) -> Metrics:
  """Metrics of a batch, over the tokens in batch.mask.

  train/clip_fraction_low: fraction of tokens without a gradient since their ratio is below
    1 - clip_low and their advantage negative; _high: since it is above 1 + clip_high and their
    advantage positive; train/clip_fraction: the sum of both.
  train/ratio_p50, _p99, _max: of the ratio as the loss uses it.
  train/entropy_sampled: mean of -log p of the sampled tokens, in nats.
  train/kl: see `kl`; only with batch.ref_logps.
  agree/logp_diff_mean, _max: difference between log-probabilities of trainer and sampler. With
    batch.sampler_logps, both are of the sampling policy. Without, the trainer's are of the current
    policy: in the first update after a rollout the difference is rounding, later the policy has
    moved.
  """
  logps_BT, log_ratio_BT = jax.lax.stop_gradient((logps_BT, log_ratio_BT))
  mask_BT, ratio_BT = batch.mask, jnp.exp(log_ratio_BT)
  advantages_BT = advantages(batch)
  low = aggregation.masked_mean((ratio_BT < 1 - settings.clip_low) & (advantages_BT < 0), mask_BT)
  high = aggregation.masked_mean((ratio_BT > 1 + settings.clip_high) & (advantages_BT > 0), mask_BT)
  # Quantiles of the logarithm are finite where the ratio is not.
  p50, p99 = jnp.exp(aggregation.masked_quantiles(log_ratio_BT, mask_BT, (0.5, 0.99)))
  if batch.sampler_logps is None:
    diff_BT = jnp.abs(logps_BT - old_logps(batch))
  else:
    diff_BT = jnp.abs(old_logps(batch) - batch.sampler_logps)
  out = {
    "train/clip_fraction": low + high,
    "train/clip_fraction_low": low,
    "train/clip_fraction_high": high,
    "train/ratio_p50": p50,
    "train/ratio_p99": p99,
    "train/ratio_max": jnp.exp(aggregation.masked_max(log_ratio_BT, mask_BT)),
    "train/entropy_sampled": -aggregation.masked_mean(logps_BT, mask_BT),
    "agree/logp_diff_mean": aggregation.masked_mean(diff_BT, mask_BT),
    "agree/logp_diff_max": (diff_BT * mask_BT).max(),
  }
  if batch.ref_logps is not None:
    out |= kl(logps_BT, batch.ref_logps, mask_BT)
  return out


def kl(logps_BT: Array, ref_logps_BT: Array, mask_BT: Array) -> Metrics:
  """{"train/kl": the k3 estimate of KL(policy, reference), in nats per token of the mask}.

  With the penalty in the loss it is of the training batch; with the penalty in the reward, of the
  rollout and the policy that sampled it.
  """
  k3_BT = grpo_loss.k3(logps_BT, ref_logps_BT, KL_CLAMP)
  return {"train/kl": aggregation.masked_mean(k3_BT, mask_BT)}


def old_logps(batch: Batch) -> Array:
  """batch.old_logps. Raises ValueError where it is None."""
  if batch.old_logps is None:
    raise ValueError("batch.old_logps is None; the importance ratio of the loss needs it")
  return batch.old_logps


def advantages(batch: Batch) -> Array:
  """batch.advantages. Raises ValueError where it is None."""
  if batch.advantages is None:
    raise ValueError("batch.advantages is None; the policy-gradient loss needs it")
  return batch.advantages
