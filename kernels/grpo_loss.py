"""The clipped-ratio loss of policy gradients, from hidden states and the head to one number.

The logits exist in `token_logps` alone, forward and backward; the rest is one number per token,
which the compiler fuses. The RL algorithms are made of the parts.

B sequences, T tokens, D width, V vocabulary.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cot_rm.kernels.token_logps import token_logps, token_logps_ref


def clipped(
  log_ratio_BT: jax.Array, advantages_BT: jax.Array, clip_low: float, clip_high: float
) -> jax.Array:
  """Clipped surrogate loss, f32[B, T]: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A).

  r is exp(log_ratio). PPO's (arXiv:1707.06347, eq. 7), with two bounds as in DAPO
  (arXiv:2503.14476).
  """
  ratio_BT = jnp.exp(log_ratio_BT)
  clipped_BT = jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high)
  return -jnp.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)


def k3(logps_BT: jax.Array, ref_logps_BT: jax.Array, clamp: float) -> jax.Array:
  """Schulman's k3 estimator of KL(policy, reference), f32[B, T]: unbiased and never negative.

  The log-ratio is clipped to +- clamp. Source: http://joschu.net/blog/kl-approx.html.
  """
  log_ratio_BT = jnp.clip(ref_logps_BT - logps_BT, -clamp, clamp)
  return jnp.expm1(log_ratio_BT) - log_ratio_BT


def grpo_loss(
  x_BTD: jax.Array,
  w_VD: jax.Array,
  tokens_BT: jax.Array,
  old_logps_BT: jax.Array,
  advantages_BT: jax.Array,
  weights_BT: jax.Array,
  *,
  ref_logps_BT: jax.Array | None = None,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  preclip: tuple[float | None, float | None] = (None, None),
  kl: float = 0.0,
  kl_clamp: float = 10.0,
  logps: Callable[..., jax.Array] = token_logps,
) -> jax.Array:
  """GRPO's loss (arXiv:2402.03300, eq. 3) and its variants, without the [B, T, V] logits.

  Args:
    x_BTD: hidden states.
    w_VD: the head, one row per entry of the vocabulary.
    tokens_BT: i32, the tokens that follow the hidden states.
    old_logps_BT: f32, log-probabilities under the policy that sampled.
    advantages_BT: f32.
    weights_BT: f32, weight of each token: 1 / (answers * tokens of its answer) for the mean over
      sequences, 1 / tokens for the mean over tokens. Tokens with weight 0 are skipped.
    ref_logps_BT: f32, log-probabilities under the reference; None: no KL term.
    clip_low: lower bound of the ratio, 1 - clip_low.
    clip_high: upper bound of the ratio, 1 + clip_high.
    preclip: bounds of the log-ratio before the exponential (StableReinforce, arXiv:2505.02835).
    kl: weight of `k3` to the reference.
    kl_clamp: clamp of `k3`.
    logps: (hidden states, head, tokens, mask) -> log-probabilities, as `token_logps`, which is for
      one device.

  Returns:
    f32[]; differentiable in x_BTD and w_VD.
  """
  logps_BT = logps(x_BTD, w_VD, tokens_BT, weights_BT)
  counts_BT = weights_BT > 0
  log_ratio_BT = jnp.clip(jnp.where(counts_BT, logps_BT - old_logps_BT, 0.0), *preclip)
  loss_BT = clipped(log_ratio_BT, advantages_BT, clip_low, clip_high)
  if ref_logps_BT is not None:
    loss_BT += kl * k3(logps_BT, ref_logps_BT, kl_clamp)
  return (jnp.where(counts_BT, loss_BT, 0.0) * weights_BT).sum()


def _all_logps(
  x_BTD: jax.Array, w_VD: jax.Array, tokens_BT: jax.Array, mask_BT: jax.Array
) -> jax.Array:
  """Log-probabilities of all tokens, whatever the mask."""
  del mask_BT
  return token_logps_ref(x_BTD, w_VD, tokens_BT)


# The definition: `grpo_loss` with the log-softmax of all logits.
grpo_loss_ref = functools.partial(grpo_loss, logps=_all_logps)
