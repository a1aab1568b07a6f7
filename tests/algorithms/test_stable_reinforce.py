"""Pre-CLIP and the two filters, against the published numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.algorithms import (
  advantage_estimators,
  aggregation,
  policy_gradient,
  reinforce_pp,
  stable_reinforce,
)
from tests import defaults
from tests.algorithms import batches

PAPER = defaults.settings(stable_reinforce)
RELEASED = defaults.settings(stable_reinforce, filter="released")
OFF = defaults.settings(stable_reinforce, preclip_low=None, preclip_high=None, filter="none")


def loss(logps_BT, batch, settings=PAPER):
  return stable_reinforce.loss(
    logps_BT, batch, aggregation.token_weights(batch, "sequence"), settings
  )


def test_the_published_token_losses_with_pre_clip():
  batch = batches.batch(*batches.PUBLISHED)
  logps = jnp.array(batches.PUBLISHED_LOGPS)
  for t, want in enumerate([1000, *batches.PLAIN_LOSSES[1:]]):
    one = jax.tree.map(lambda x, t=t: x[:, t : t + 1], batch)
    np.testing.assert_allclose(loss(logps[:, t : t + 1], one)[0], want, rtol=2e-4)
  value, metrics = loss(logps, batch)
  assert float(metrics["train/preclip_fraction"]) == 0.25
  assert float(metrics["train/ratio_max"]) == pytest.approx(1000, rel=1e-4)
  # A token that Pre-CLIP bounds has no gradient; the others have the plain one, -A r / 4.
  grad = jax.grad(lambda x: loss(x, batch)[0])(logps)
  np.testing.assert_allclose(grad, [[0, 0.2762927, -0.1381464, 16.78622]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("log_ratio", [100.0, -100.0])
@pytest.mark.parametrize("advantage", [3.0, -3.0, 0.0])
def test_log_ratios_of_a_hundred_are_finite(log_ratio, advantage):
  batch = batches.batch([[-100.0, -100.0]], [[advantage, 1.0]])
  logps = batch.old_logps + jnp.array([[log_ratio, 0.0]])
  value, grad = jax.value_and_grad(lambda x: loss(x, batch)[0])(logps)
  assert np.isfinite(value) and abs(float(value)) <= 1500.5
  np.testing.assert_allclose(grad, [[0, -0.5]])


def test_with_pre_clip_and_filter_off_it_is_reinforce_pp():
  batch = batches.batch(*batches.PUBLISHED)
  logps = jnp.array(batches.PUBLISHED_LOGPS)
  np.testing.assert_array_equal(
    loss(logps, batch, OFF)[0],
    policy_gradient.loss(logps, batch, aggregation.token_weights(batch, "sequence"), OFF)[0],
  )
  rewards, lengths = [[0.0]] + [[1.0]] * 255, np.ones((256, 1))
  np.testing.assert_array_equal(
    stable_reinforce.advantages(rewards, lengths, OFF),
    reinforce_pp.advantages(rewards, lengths, defaults.settings(reinforce_pp)),
  )


def test_one_wrong_among_255_right_is_filtered_and_those_are_not():
  for settings in (PAPER, RELEASED):
    found = stable_reinforce.advantages([[0.0]] + [[1.0]] * 255, np.ones((256, 1)), settings)
    assert found[0, 0] == 0
    np.testing.assert_allclose(found[1:], 0.063, atol=5e-4)


@pytest.mark.parametrize(
  "right, of, z_right, z_wrong, paper_keeps, released_keeps",
  [  # accuracy, both advantages, and whether the filters keep wrong samples
    (50, 100, 1.00, -1.00, True, True),
    (65, 100, 0.73, -1.36, True, True),
    (68, 100, 0.69, -1.46, True, True),
    (69, 100, 0.67, -1.49, True, False),
    (80, 100, 0.50, -2.00, True, False),
    (89, 100, 0.35, -2.84, True, False),
    (91, 100, 0.31, -3.18, False, False),
    (255, 256, 0.06, -15.97, False, False),
  ],
)
def test_the_accuracy_at_which_each_filter_drops_the_wrong(
  right, of, z_right, z_wrong, paper_keeps, released_keeps
):
  rewards = np.array([[2.0]] * right + [[0.5]] * (of - right))
  lengths = np.full(rewards.shape, 5)
  z, _ = advantage_estimators.whitened_returns(rewards, lengths, PAPER)
  assert (z[0, 0, 0], z[-1, 0, 0]) == pytest.approx((z_right, z_wrong), abs=6e-3)
  for settings, keeps in ((PAPER, paper_keeps), (RELEASED, released_keeps)):
    found = stable_reinforce.advantages(rewards, lengths, settings)
    assert found[0, 0] > 0 and (found[-1, 0] < 0) == keeps
    fractions = advantage_estimators.zero_advantages(found, lengths, rewards == 2.0)
    assert fractions["rl/filtered_right"] == 0 and fractions["rl/filtered_wrong"] == (not keeps)


def test_what_is_filtered_still_counts_in_the_mean():
  batch = batches.batch([[-1.0], [-1.0]], [[1.0], [0.0]])
  assert float(loss(batch.old_logps, batch)[0]) == -0.5


def test_tokens_are_filtered_one_by_one_where_the_kl_is_in_the_reward():
  settings = dataclasses.replace(PAPER, kl=1.0)
  kl_QGT = np.zeros((1, 1, 100))
  kl_QGT[0, 0, 0] = 50.0  # only the first token's return has it
  found = stable_reinforce.advantages([[1.0]], [[100]], settings, kl_QGT)
  assert found[0, 0, 0] == 0 and (found[0, 0, 1:] > 0).all()


def test_a_bound_that_no_ratio_has_is_refused():
  with pytest.raises(ValueError, match="stable_reinforce.Config.preclip_low is 0"):
    defaults.settings(stable_reinforce, preclip_low=0)
