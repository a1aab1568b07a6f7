"""Group advantages, their kin, and the whole loss, against values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.algorithms import aggregation, grpo
from tests import defaults
from tests.algorithms import batches


def advantages(rewards_QG, settings=None, lengths_QG=None):
  lengths_QG = np.ones(np.shape(rewards_QG), int) if lengths_QG is None else lengths_QG
  return grpo.advantages(rewards_QG, lengths_QG, settings or defaults.settings(grpo))


def loss(logps_BT, batch, settings):
  weights_BT = aggregation.token_weights(batch, settings.aggregate, settings.max_tokens)
  return grpo.loss(logps_BT, batch, weights_BT, settings)


def test_a_zero_variance_group_has_no_advantages():
  np.testing.assert_array_equal(advantages(np.ones((3, 4))), 0)
  # Nor where the mean of rewards that are no binary fractions is rounded.
  np.testing.assert_array_equal(advantages(np.full((1, 7), 1.7 / 3)), 0)


def test_advantages_use_the_unbiased_standard_deviation():
  # mean 0.5, squares 4 * 0.25 = 1, over n - 1 = 3
  want = 0.5 / (math.sqrt(1 / 3) + 1e-4)
  np.testing.assert_allclose(advantages([[1, 1, 0, 0]]), [[want, want, -want, -want]], rtol=1e-6)


def test_dr_grpo_divides_by_no_deviation():
  found = advantages([[1, 1, 0, 0]], defaults.settings(grpo, normalize="none"))
  np.testing.assert_array_equal(found, [[0.5, 0.5, -0.5, -0.5]])


def test_a_reward_that_failed_is_left_out_of_its_group():
  np.testing.assert_allclose(
    advantages([[1, 0, np.nan]]), [[0.70700678, -0.70700678, 0]], rtol=1e-5
  )


def test_a_group_of_one_is_refused():
  with pytest.raises(ValueError, match="group of 1 .*config.rl.group"):
    advantages([[1.0], [0.0]])


def test_an_over_long_answer_is_punished_in_the_last_tokens_and_at_most_by_one():
  settings = defaults.settings(grpo, max_tokens=100, buffer=20, normalize="none")
  found = grpo.overlong_penalty([[10, 80, 85, 100, 120]], settings)
  np.testing.assert_allclose(found, [[0, 0, -0.25, -1, -1]])
  found = advantages([[1, 1]], settings, [[80, 100]])
  np.testing.assert_array_equal(found, [[0.5, -0.5]])


def test_a_buffer_longer_than_the_answer_is_refused():
  with pytest.raises(ValueError, match="grpo.Config.buffer is 20.* 0 to max_tokens, 8"):
    defaults.settings(grpo, buffer=20)


def test_the_kl_penalty_moves_the_policy_to_the_reference():
  batch = batches.batch([[-1.0]], [[0.0]], ref=[[-2.0]])
  grad = jax.grad(lambda x: loss(x, batch, defaults.settings(grpo, kl=0.04))[0])(batch.old_logps)
  np.testing.assert_allclose(grad, [[0.04 * (1 - math.exp(-1))]], rtol=1e-5)


def test_a_longer_answer_does_not_weigh_more():
  batch = batches.batch(
    [[-1.0, -1, -1], [-1, 0, 0]], [[1.0, 1, 1], [-1, -1, -1]], mask=[[1, 1, 1], [1, 0, 0]]
  )
  assert float(loss(batch.old_logps, batch, defaults.settings(grpo))[0]) == 0


def test_by_token_or_by_a_constant_it_does():
  batch = batches.batch(
    [[-1.0, -1, -1], [-1, 0, 0]], [[1.0, 1, 1], [-1, 0, 0]], mask=[[1, 1, 1], [1, 0, 0]]
  )
  by_token = loss(batch.old_logps, batch, defaults.settings(grpo, aggregate="token"))[0]
  assert float(by_token) == -(3 - 1) / 4
  constant = loss(batch.old_logps, batch, defaults.settings(grpo, aggregate="constant"))[0]
  assert float(constant) == -(3 - 1) / (2 * 8)


def test_gspo_clips_the_ratio_of_the_whole_answer():
  # Log-ratios 0.3 and 0.1: their mean 0.2 is past the clip, though one token's own is not.
  batch = batches.batch([[-1.0, -1.0], [-1.0, -1.0]], [[1.0, 1.0], [-2.0, -2.0]])
  logps = jnp.array([[-0.7, -0.9], [-0.7, -0.9]])
  settings = defaults.settings(grpo, ratio="sequence", clip_high=0.15)
  value, grad = jax.value_and_grad(lambda x: loss(x, batch, settings)[0])(logps)
  ratio = math.exp(0.2)
  assert float(value) == pytest.approx((-1.15 + 2 * ratio) / 2, rel=1e-5)
  # Of the mean over answers of -s A: s |A| / (answers * length) at each token; 0 past the clip.
  np.testing.assert_allclose(grad, [[0, 0], [ratio * 2 / 4] * 2], rtol=1e-5)


def test_without_a_reference_there_is_no_kl():
  batch = batches.batch([[-1.0]], [[1.0]])
  value, metrics = loss(batch.old_logps, batch, defaults.settings(grpo, kl=5.0))
  assert float(value) == -1 and "train/kl" not in metrics
