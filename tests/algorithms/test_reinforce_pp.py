"""REINFORCE++: no group, the rollout is the baseline."""

import jax
import jax.numpy as jnp
import numpy as np

from cot_rm.algorithms import aggregation, reinforce_pp
from tests import defaults
from tests.algorithms import batches


def test_one_sample_of_each_question_is_enough():
  found = reinforce_pp.advantages([[2.0], [0.5]], [[4], [4]], defaults.settings(reinforce_pp))
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, [[1], [-1]])


def test_nothing_is_filtered():
  rewards = [[0.0]] + [[1.0]] * 255
  found = reinforce_pp.advantages(rewards, np.ones((256, 1)), defaults.settings(reinforce_pp))
  assert found[0, 0] < -15.9


def test_with_a_kl_in_the_reward_each_token_has_its_own_advantage():
  # Returns 1 - 0.5 * (1, 0) and 0: (0.5, 1, 0); mean 0.5, variance 1/6; past the end 0.
  kl_QGT = np.array([[[1.0, 0.0]], [[0.0, 7.0]]])
  kl_QGT[0, 0] = [1.0, 0.0]
  found = reinforce_pp.advantages(
    [[1.0], [0.0]], [[2], [1]], defaults.settings(reinforce_pp, kl=0.5), kl_QGT
  )
  z = 0.5 / np.sqrt(1 / 6)
  np.testing.assert_allclose(found, [[[0, z]], [[-z, 0]]], rtol=1e-6)


def test_a_kl_of_zero_ratios_is_no_kl():
  rewards, lengths = [[1.0], [0.0], [0.25]], np.array([[1], [3], [2]])
  plain = reinforce_pp.advantages(rewards, lengths, defaults.settings(reinforce_pp))
  found = reinforce_pp.advantages(
    rewards, lengths, defaults.settings(reinforce_pp, kl=0.1), np.zeros((3, 1, 3))
  )
  counts = np.arange(3) < lengths[..., None]
  np.testing.assert_allclose(found, np.where(counts, plain[..., None], 0), rtol=1e-6)


def test_the_loss_is_the_published_plain_one():
  batch = batches.batch(*batches.PUBLISHED)
  weights_BT = aggregation.token_weights(batch, "sequence")
  loss = lambda x: reinforce_pp.loss(x, batch, weights_BT, defaults.settings(reinforce_pp))[0]
  value, grad = jax.value_and_grad(loss)(jnp.array(batches.PUBLISHED_LOGPS))
  np.testing.assert_allclose(value, np.mean(batches.PLAIN_LOSSES), rtol=5e-5)
  # -A r / 4: 0.25 e^9.9, 0.25 e^0.1, -0.125 e^0.1, 0.125 e^4.9
  np.testing.assert_allclose(grad, [[4982.593, 0.2762927, -0.1381464, 16.78622]], rtol=1e-4)
