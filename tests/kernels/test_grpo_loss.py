"""The loss from hidden states and the head: by hand, its definition, and the algorithms' loss."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.algorithms import aggregation, grpo, stable_reinforce
from cot_rm.kernels import grpo_loss as kernel
from cot_rm.kernels.token_logps import token_logps_ref
from tests import defaults
from tests.algorithms import batches

WITHIN = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}
B, T, D, V = 3, 7, 8, 50


def inputs(dtype=jnp.float32, seed=0):
  """(x, w, tokens), log-probabilities of the old and the reference policy, advantages, a mask."""
  rng = np.random.default_rng(seed)
  some = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
  x_BTD, w_VD, tokens_BT = some(B, T, D), some(V, D), rng.integers(0, V, (B, T)).astype(np.int32)
  now_BT = token_logps_ref(x_BTD, w_VD, tokens_BT)
  off = lambda scale: jnp.asarray(scale * rng.standard_normal((B, T)), jnp.float32)
  old_BT = (now_BT + off(0.4)).at[0, 1].add(9.0).at[1, 2].add(-9.0)
  mask_BT = (rng.random((B, T)) < 0.7).astype(np.float32)
  return (x_BTD, w_VD, tokens_BT), old_BT, now_BT + off(1.0), off(1.0), mask_BT


def test_the_clipped_ratio_by_hand():
  found = kernel.clipped(
    jnp.log(jnp.array([[1.5, 1.5, 0.5, 0.5]])), jnp.array([[1.0, -1, 1, -1]]), 0.2, 0.3
  )
  np.testing.assert_allclose(found, [[-1.3, 1.5, -0.5, 0.8]], rtol=1e-6)


def test_k3_is_zero_at_the_reference_never_negative_and_clamped():
  ref = jnp.array([[0.0, -1.0, -2.0, -50.0]])
  got = kernel.k3(jnp.array([[0.0, -2.0, -1.0, 0.0]]), ref, 10.0)
  want = [0, math.e - 2, math.exp(-1), math.exp(-10) + 9]
  np.testing.assert_allclose(got, [want], rtol=1e-5)


@pytest.mark.parametrize("dtype", list(WITHIN))
@pytest.mark.parametrize(
  "settings",
  [
    dict(),
    dict(clip_low=0.1, clip_high=0.28, kl=0.04),
    dict(preclip=(math.log(1e-3), math.log(1e3)), kl=0.5, kl_clamp=0.5),
  ],
)
@pytest.mark.parametrize("wanted", ["some", "none"])
def test_the_loss_and_its_gradients_equal_the_definition(dtype, settings, wanted):
  (x_BTD, w_VD, tokens_BT), old_BT, ref_BT, advantages_BT, mask_BT = inputs(dtype)
  weights_BT = mask_BT / mask_BT.sum() if wanted == "some" else 0 * mask_BT
  ref_BT = ref_BT if "kl" in settings else None
  given = old_BT, advantages_BT, weights_BT

  def both(f):
    loss = lambda x, w: f(x, w, tokens_BT, *given, ref_logps_BT=ref_BT, **settings)
    return jax.value_and_grad(loss, (0, 1))(x_BTD, w_VD)

  found, wanted = (
    jax.tree.leaves(both(kernel.grpo_loss)),
    jax.tree.leaves(both(kernel.grpo_loss_ref)),
  )
  for a, b in zip(found, wanted, strict=True):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    np.testing.assert_allclose(a, b, atol=WITHIN[dtype] * max(np.abs(b).max(), 1e-3))


@pytest.mark.parametrize("how", aggregation.AGGREGATES[:2])
@pytest.mark.parametrize("algorithm", [grpo, stable_reinforce])
def test_the_loss_is_that_of_the_train_step(algorithm, how):
  given, old_BT, ref_BT, advantages_BT, mask_BT = inputs()
  batch = batches.batch(old_BT, advantages_BT, mask_BT, ref_BT if algorithm is grpo else None)
  weights_BT, logps_BT = aggregation.token_weights(batch, how), token_logps_ref(*given)
  if algorithm is grpo:
    settings, how = defaults.settings(grpo, kl=0.1), dict(kl=0.1)
  else:
    settings, how = (
      defaults.settings(stable_reinforce),
      dict(preclip=(math.log(1e-3), math.log(1e3))),
    )
  wanted, _ = algorithm.loss(logps_BT, batch, weights_BT, settings)
  found = kernel.grpo_loss(
    *given, old_BT, advantages_BT, weights_BT, ref_logps_BT=batch.ref_logps, **how
  )
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
