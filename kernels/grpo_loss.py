"""The clipped-ratio loss of policy gradients, from hidden states and the head to one number.

The logits live in `token_logps` alone, forward and backward; behind it all is one number a token,
which the compiler fuses. The parts are what the algorithms of RL are made of.

B sequences, T tokens, D width, V vocabulary.
"""

import jax.numpy as jnp

from cot_rm.kernels.token_logps import token_logps, token_logps_ref


def clipped(log_ratio_BT, advantages_BT, clip_low, clip_high):
  """f32[B, T]: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with r = exp(log_ratio).

  PPO's (arXiv:1707.06347, eq. 7), with two bounds as in DAPO (arXiv:2503.14476).
  """
  ratio_BT = jnp.exp(log_ratio_BT)
  clipped_BT = jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high)
  return -jnp.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)


def k3(logps_BT, ref_logps_BT, clamp):
  """Schulman's estimator of KL(policy, reference): unbiased, never negative, low variance.

  Source: http://joschu.net/blog/kl-approx.html. The log-ratio is held to +- clamp.
  """
  log_ratio_BT = jnp.clip(ref_logps_BT - logps_BT, -clamp, clamp)
  return jnp.expm1(log_ratio_BT) - log_ratio_BT


def grpo_loss(
  x_BTD, w_VD, tokens_BT, old_BT, advantages_BT, weights_BT, ref_BT=None, *, clip_low=0.2,
  clip_high=0.2, preclip=(None, None), kl=0.0, kl_clamp=10.0, logps=token_logps,
):  # fmt: skip
  """GRPO's loss (arXiv:2402.03300, eq. 3), and its kin's, without the [B, T, V] logits.

  Args:
    x_BTD: hidden states; tokens_BT: the tokens that follow them; w_VD: the head, one row a word.
    old_BT: f32, their log-probabilities under the policy that sampled; ref_BT: under the reference.
    weights_BT: what each token weighs, 1 / (answers * its answer's tokens) for the mean of
      sequences, 1 / tokens for that of tokens; one that weighs 0 is not looked at.
    preclip: bounds of the log-ratio before the exponential (StableReinforce, arXiv:2505.02835).
    kl, kl_clamp: weight of `k3` to the reference and its clamp.
    logps: how log-probabilities are computed: as `token_logps`, which is for one device.

  Returns:
    f32[]; differentiable in x_BTD and w_VD.
  """
  logps_BT = logps(x_BTD, w_VD, tokens_BT, weights_BT)
  counts_BT = weights_BT > 0
  log_ratio_BT = jnp.clip(jnp.where(counts_BT, logps_BT - old_BT, 0.0), *preclip)
  loss_BT = clipped(log_ratio_BT, advantages_BT, clip_low, clip_high)
  if ref_BT is not None:
    loss_BT += kl * k3(logps_BT, ref_BT, kl_clamp)
  return (jnp.where(counts_BT, loss_BT, 0.0) * weights_BT).sum()


def grpo_loss_ref(x_BTD, w_VD, tokens_BT, *given, **settings):
  """The definition: `grpo_loss` of the log-softmax of all logits."""
  every = lambda x_BTD, w_VD, tokens_BT, _: token_logps_ref(x_BTD, w_VD, tokens_BT)
  return grpo_loss(x_BTD, w_VD, tokens_BT, *given, **settings, logps=every)
