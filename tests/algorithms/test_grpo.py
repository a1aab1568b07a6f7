"""Group advantages, the clipped ratio and the k3 KL, against values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm import schema
from cot_rm.algorithms import grpo


def batch_of(old, advantages, mask=None, ref=None):
  old = jnp.asarray(old, jnp.float32)
  zeros = jnp.zeros(old.shape, jnp.int32)
  return schema.Batch(
    zeros,
    zeros,
    zeros,
    zeros,
    mask=jnp.ones_like(old) if mask is None else jnp.asarray(mask, jnp.float32),
    old_logps=old,
    advantages=jnp.asarray(advantages, jnp.float32),
    ref_logps=None if ref is None else jnp.asarray(ref, jnp.float32),
  )


def test_a_group_that_agrees_teaches_nothing():
  np.testing.assert_array_equal(grpo.advantages(np.ones((3, 4)), grpo.Config()), 0)


def test_advantages_use_the_unbiased_standard_deviation():
  # mean 0.5, squares 4 * 0.25 = 1, over n - 1 = 3
  want = 0.5 / (math.sqrt(1 / 3) + 1e-4)
  got = grpo.advantages([[1, 1, 0, 0]], grpo.Config())
  np.testing.assert_allclose(got, [[want, want, -want, -want]], rtol=1e-6)


def test_a_reward_that_failed_is_left_out_of_its_group():
  got = grpo.advantages([[1, 0, np.nan]], grpo.Config())
  np.testing.assert_allclose(got, [[0.70700678, -0.70700678, 0]], rtol=1e-5)


def test_a_group_of_one_is_refused():
  with pytest.raises(ValueError, match="group of 1 .*config.rl.group"):
    grpo.advantages([[1.0], [0.0]], grpo.Config())


def test_the_published_token_losses_of_the_clipped_ratio():
  # The worked example of arXiv:2505.02835: an unbounded ratio where the advantage is negative.
  logps = jnp.array([[-0.1, -0.1, -0.1, -0.1]])
  batch = batch_of([[-10, -0.2, -0.2, -5]], [[-1, -1, 0.5, -0.5]])
  each = [
    float(
      grpo.loss(
        logps[:, t : t + 1],
        jax.tree.map(lambda x, t=t: x[:, t : t + 1], batch),
        grpo.Config(clip=0.2, kl=0.0),
      )[0]
    )
    for t in range(4)
  ]
  np.testing.assert_allclose(each, [19930.37, 1.105, -0.5526, 67.14], rtol=5e-4)


def test_on_policy_the_gradient_is_minus_the_advantage_over_the_length():
  batch = batch_of([[-1.0, -2, -3]], [[2.0, 2, 2]], mask=[[0, 1, 1]])
  grad = jax.grad(lambda x: grpo.loss(x, batch, grpo.Config(kl=0.0))[0])(batch.old_logps)
  np.testing.assert_allclose(grad, [[0, -1, -1]], rtol=1e-6)


def test_past_the_clip_nothing_is_learnt():
  batch = batch_of([[-1.0, -1.0]], [[1.0, -1.0]])
  logps = jnp.array([[-0.5, -1.5]])  # already well on the side that the advantage asks for
  grad = jax.grad(lambda x: grpo.loss(x, batch, grpo.Config(kl=0.0))[0])(logps)
  np.testing.assert_array_equal(grad, 0)


def test_k3_is_zero_at_the_reference_never_negative_and_clamped():
  ref = jnp.array([[0.0, -1.0, -2.0, -50.0]])
  got = grpo.k3(jnp.array([[0.0, -2.0, -1.0, 0.0]]), ref, 10.0)
  want = [0, math.e - 2, math.exp(-1), math.exp(-10) + 9]
  np.testing.assert_allclose(got, [want], rtol=1e-5)


def test_the_kl_pulls_towards_the_reference():
  batch = batch_of([[-1.0]], [[0.0]], ref=[[-2.0]])
  grad = jax.grad(lambda x: grpo.loss(x, batch, grpo.Config(kl=0.04))[0])(batch.old_logps)
  np.testing.assert_allclose(grad, [[0.04 * (1 - math.exp(-1))]], rtol=1e-5)


def test_a_longer_answer_does_not_weigh_more():
  batch = batch_of(
    [[-1.0, -1, -1], [-1, 0, 0]], [[1.0, 1, 1], [-1, -1, -1]], mask=[[1, 1, 1], [1, 0, 0]]
  )
  loss, _ = grpo.loss(batch.old_logps, batch, grpo.Config(kl=0.0))
  assert float(loss) == 0
