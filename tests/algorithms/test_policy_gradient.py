"""The ratio, its clip, the k3 KL and the figures of them, against values worked out by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.algorithms import aggregation, policy_gradient, reinforce_pp
from tests import defaults
from tests.algorithms import batches

SETTINGS = defaults.settings(reinforce_pp)  # clips at 0.2


def plain(logps_BT, batch, settings=SETTINGS):
  logps_BT = jnp.asarray(logps_BT, jnp.float32)
  return policy_gradient.loss(
    logps_BT, batch, aggregation.token_weights(batch, "sequence"), settings
  )


def test_the_published_token_losses_of_the_clipped_ratio():
  # An unbounded ratio where the advantage is negative: the clip works on the other side.
  batch = batches.batch(*batches.PUBLISHED)
  log_ratio_BT = policy_gradient.log_ratio(jnp.array(batches.PUBLISHED_LOGPS), batch)
  found = policy_gradient.clipped_surrogate(log_ratio_BT, batch, SETTINGS)
  np.testing.assert_allclose(found, [batches.PLAIN_LOSSES], rtol=2e-4)


def test_on_policy_the_gradient_is_minus_the_advantage_over_the_length():
  batch = batches.batch([[-1.0, -2, -3]], [[2.0, 2, 2]], mask=[[0, 1, 1]])
  grad = jax.grad(lambda x: plain(x, batch)[0])(batch.old_logps)
  np.testing.assert_allclose(grad, [[0, -1, -1]], rtol=1e-6)


def test_off_policy_the_gradient_is_the_ratio_times_that():
  batch = batches.batch([[-1.0, -1.0]], [[1.0, -2.0]])
  grad = jax.grad(lambda x: plain(x, batch)[0])(jnp.array([[-0.9, -1.1]]))
  np.testing.assert_allclose(grad, [[-math.exp(0.1) / 2, 2 * math.exp(-0.1) / 2]], rtol=1e-6)


def test_past_the_clip_nothing_is_learnt():
  batch = batches.batch([[-1.0, -1.0]], [[1.0, -1.0]])
  logps = jnp.array([[-0.5, -1.5]])  # already well on the side that the advantage asks for
  grad = jax.grad(lambda x: plain(x, batch)[0])(logps)
  np.testing.assert_array_equal(grad, 0)


def test_a_clip_may_be_higher_above_than_below():
  settings = dataclasses.replace(SETTINGS, clip_low=0.2, clip_high=0.28)
  batch = batches.batch([[0.0, 0.0]], [[1.0, -1.0]])
  found = policy_gradient.clipped_surrogate(jnp.log(jnp.array([[1.5, 0.5]])), batch, settings)
  np.testing.assert_allclose(found, [[-1.28, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
def test_a_ratio_that_overflows_is_loud(advantage):
  # exp(100) is no float32: published as it is, the step is refused by train.check_finite.
  batch = batches.batch([[-100.0, -1.0]], [[advantage, 1.0]])
  loss, grad = jax.value_and_grad(lambda x: plain(x, batch)[0])(jnp.array([[0.0, -1.0]]))
  assert not (np.isfinite(loss) and np.isfinite(norm_of(grad)))


def norm_of(grad):
  """The gradient's norm, by which train.check_finite judges."""
  return float(jnp.sqrt(jnp.square(grad).sum()))


def test_a_padded_token_is_nothing_however_unlikely():
  batch = batches.batch([[-1.0, -500.0]], [[1.0, 0.0]], mask=[[1, 0]])
  loss, grad = jax.value_and_grad(lambda x: plain(x, batch)[0])(jnp.array([[-1.0, 0.0]]))
  assert float(loss) == -1
  np.testing.assert_array_equal(grad, [[-1, 0]])


def test_the_ratio_of_an_answer_is_the_geometric_mean_with_a_gradient_for_each_token():
  batch = batches.batch(
    [[-1.0, -1, -1, -7]], [[1.0] * 4], mask=[[1, 1, 1, 0]], segments=[[1, 1, 2, 0]]
  )
  logps = jnp.array([[-0.8, -1.0, -1.3, -1.0]])
  found = policy_gradient.sequence_log_ratio(logps, batch)
  np.testing.assert_allclose(found, [[0.1, 0.1, -0.3, 0]], atol=1e-6)
  grad = jax.grad(lambda x: jnp.exp(policy_gradient.sequence_log_ratio(x, batch))[0, 0])(logps)
  np.testing.assert_allclose(grad, [[math.exp(0.1), 0, 0, 0]], rtol=1e-6)


def test_the_figures_are_of_the_tokens_that_count():
  # Ratios e, 1, 1/e, 1/e: the first is clipped above and the third below; the fourth is not, its
  # advantage asks for more of it; the fifth does not count.
  batch = batches.batch(
    [[-3.0, -2, -1, -1, -9]],
    [[1.0, 1, -1, 1, 1]],
    mask=[[1, 1, 1, 1, 0]],
    ref=[[-2.0, -2, -2, -3, 0]],
  )
  _, found = plain([[-2.0, -2, -2, -2, -2]], batch)
  assert float(found["train/clip_fraction_high"]) == 0.25
  assert float(found["train/clip_fraction_low"]) == 0.25
  assert float(found["train/clip_fraction"]) == 0.5
  assert float(found["train/ratio_p50"]) == pytest.approx(math.exp(-0.5))
  assert float(found["train/ratio_max"]) == pytest.approx(math.e)
  assert float(found["train/entropy_sampled"]) == 2
  assert float(found["train/kl"]) == pytest.approx(math.exp(-1) / 4)
  assert float(found["agree/logp_diff_mean"]) == 0.75
  assert float(found["agree/logp_diff_max"]) == 1


def test_with_both_log_probabilities_of_the_sampled_policy_agreement_is_between_these():
  batch = batches.batch([[-1.0, -2.0]], [[1.0, 1.0]], sampler=[[-1.1, -2.0]])
  _, found = plain([[-5.0, -5.0]], batch)
  assert float(found["agree/logp_diff_max"]) == pytest.approx(0.1, rel=1e-5)
  assert float(found["agree/logp_diff_mean"]) == pytest.approx(0.05, rel=1e-5)
