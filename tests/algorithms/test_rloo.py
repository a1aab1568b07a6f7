"""The leave-one-out baseline, by hand."""

import jax
import numpy as np
import pytest

from cot_rm.algorithms import aggregation, rloo
from tests import defaults
from tests.algorithms import batches

ONES = np.ones((1, 3), int)


def test_the_baseline_is_the_mean_of_the_others():
  found = rloo.advantages([[3.0, 1.0, 2.0]], ONES, defaults.settings(rloo))
  np.testing.assert_allclose(found, [[3 - 1.5, 1 - 2.5, 2 - 2.0]])


def test_a_reward_that_failed_is_in_no_baseline():
  found = rloo.advantages([[3.0, 1.0, np.nan]], ONES, defaults.settings(rloo))
  np.testing.assert_allclose(found, [[2, -2, 0]])


def test_a_zero_variance_group_has_no_advantages():
  np.testing.assert_array_equal(
    rloo.advantages(np.full((2, 3), 0.3), np.ones((2, 3)), defaults.settings(rloo)), 0
  )


def test_a_group_of_one_is_refused():
  with pytest.raises(ValueError, match="group of 1 .*config.rl.group"):
    rloo.advantages([[1.0]], [[4]], defaults.settings(rloo))


def test_the_whole_answer_s_log_ratio_is_taken_off_its_reward():
  kl_QGT = np.array([[[0.5, 1.5, 99.0], [1.0, 99.0, 99.0]]])
  found = rloo.advantages([[1.0, 1.0]], [[2, 1]], defaults.settings(rloo, kl=0.5), kl_QGT)
  np.testing.assert_allclose(found, [[(1 - 1.0) - (1 - 0.5), (1 - 0.5) - (1 - 1.0)]])


def test_on_policy_the_gradient_is_reinforce_s():
  batch = batches.batch([[-1.0, -2.0], [-1.0, 0.0]], [[1.5, 1.5], [-1.5, 0]], mask=[[1, 1], [1, 0]])
  weights_BT = aggregation.token_weights(batch, "sequence")
  grad = jax.grad(lambda x: rloo.loss(x, batch, weights_BT, defaults.settings(rloo))[0])(
    batch.old_logps
  )
  np.testing.assert_allclose(grad, [[-1.5 / 4, -1.5 / 4], [1.5 / 2, 0]], rtol=1e-6)
