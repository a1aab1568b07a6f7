"""What the losses of policy gradients share: the ratio to the policy that sampled, and its clip.

B rows, T tokens. A log-ratio above 88.7 overflows float32: its loss or its gradient is then not
finite, as published, the step is not taken and `train.check` raises. What bounds it is Pre-CLIP
(stable_reinforce).
"""

import jax
import jax.numpy as jnp

from cot_rm.algorithms import aggregation
from cot_rm.kernels import grpo_loss

KL_CLAMP = 10.0  # bound of the log-ratio in the KL that is logged


def log_ratio(logps_BT, batch):
  """f32[B, T]: of the policy to the one that sampled, at each token; 0 where none counts."""
  return jnp.where(batch.mask > 0, logps_BT - batch.old_logps, 0.0)


def log_ratio_of_answers(logps_BT, batch):
  """f32[B, T]: the mean log-ratio of the answer, at each of its tokens (GSPO, arXiv:2507.18071).

  The gradient at a token is that of its own log-probability (the paper's GSPO-token, eq. 13-14): a
  mean over the answer's tokens has the same gradient as GSPO's one ratio for each answer.
  """
  token_BT = log_ratio(logps_BT, batch)
  still = jax.lax.stop_gradient
  return still(aggregation.answer_mean(token_BT, batch)) + (token_BT - still(token_BT))


def loss(log_ratio_BT, batch, settings):
  """f32[B, T]: grpo_loss.clipped with the batch's advantages and the settings' bounds."""
  return grpo_loss.clipped(log_ratio_BT, batch.advantages, settings.clip_low, settings.clip_high)


def plain(logps_BT, batch, weights_BT, settings):
  """(scalar, metrics): `loss` with each token's own ratio, added up by `weights_BT`.

  In the first update after a rollout r is 1, and the gradient is REINFORCE's.
  """
  log_ratio_BT = log_ratio(logps_BT, batch)
  total = (loss(log_ratio_BT, batch, settings) * weights_BT).sum()
  return total, {"train/loss": total, **metrics(log_ratio_BT, logps_BT, batch, settings)}


def metrics(log_ratio_BT, logps_BT, batch, settings):
  """Figures of a batch, over the tokens that count.

  train/clip_fraction, _low, _high: share of tokens that the clip keeps from learning: those less
    likely than 1 - clip_low with a negative advantage, those more likely than 1 + clip_high with a
    positive one, and both together.
  train/ratio_p50, _p99, _max: of the ratio as the loss uses it.
  train/entropy_sampled: the mean of -log p of the tokens that were sampled, in nats.
  train/kl: see `kl`; where the batch has a reference.
  agree/logp_diff_mean, _max: how far the trainer's log-probabilities lie from the sampler's. Where
    the batch has both of the policy that sampled, of these; else in the first update after a
    rollout the weights are the same and what differs is rounding, and in later ones it has moved.
  """
  logps_BT, log_ratio_BT = jax.lax.stop_gradient((logps_BT, log_ratio_BT))
  mask_BT, ratio_BT = batch.mask, jnp.exp(log_ratio_BT)
  low = aggregation.mean((ratio_BT < 1 - settings.clip_low) & (batch.advantages < 0), mask_BT)
  high = aggregation.mean((ratio_BT > 1 + settings.clip_high) & (batch.advantages > 0), mask_BT)
  # Quantiles are taken of the logarithm, which is finite where the ratio is not.
  middle, tail = jnp.exp(aggregation.quantiles(log_ratio_BT, mask_BT, (0.5, 0.99)))
  if batch.sampler_logps is None:
    apart_BT = jnp.abs(logps_BT - batch.old_logps)
  else:
    apart_BT = jnp.abs(batch.old_logps - batch.sampler_logps)
  out = {
    "train/clip_fraction": low + high,
    "train/clip_fraction_low": low,
    "train/clip_fraction_high": high,
    "train/ratio_p50": middle,
    "train/ratio_p99": tail,
    "train/ratio_max": jnp.exp(aggregation.maximum(log_ratio_BT, mask_BT)),
    "train/entropy_sampled": -aggregation.mean(logps_BT, mask_BT),
    "agree/logp_diff_mean": aggregation.mean(apart_BT, mask_BT),
    "agree/logp_diff_max": (apart_BT * mask_BT).max(),
  }
  if batch.ref_logps is not None:
    out |= kl(logps_BT, batch.ref_logps, mask_BT)
  return out


def kl(logps_BT, ref_logps_BT, mask_BT):
  """{"train/kl": k3 to the reference, in nats a token that counts}.

  Of the batch that trains where the pull is in the loss; where it is in the reward of the rollout,
  and of the policy that sampled it.
  """
  return {"train/kl": aggregation.mean(grpo_loss.k3(logps_BT, ref_logps_BT, KL_CLAMP), mask_BT)}
