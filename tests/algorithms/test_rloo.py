"""The leave-one-out baseline, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

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
  settings = defaults.settings(rloo)
  weights_BT = aggregation.token_weights(batch, settings.aggregate)
  grad = jax.grad(lambda x: rloo.loss(x, batch, weights_BT, settings)[0])(batch.old_logps)
  np.testing.assert_allclose(grad, [[-1.5 / 2, -1.5 / 2], [1.5 / 2, 0]], rtol=1e-6)


def test_the_default_gradient_is_the_paper_s_by_torch():
  """Its eq. 8: 1/k sum_i (R_i - mean of the others) grad log p(y_i), y_i of 1 to 6 tokens.

  A policy of one weight matrix, logits of a token by the token before it, in torch's autograd.
  """
  rng = np.random.default_rng(0)
  weights_VV = rng.normal(size=(7, 7)).astype(np.float32)
  lengths, rewards = [1, 6, 3, 2], [1.0, 0.0, 1.5, 0.5]
  answers = [rng.integers(7, size=1 + length) for length in lengths]

  theirs = torch.tensor(weights_VV, requires_grad=True)
  logps = [torch.log_softmax(theirs[a[:-1]], -1)[range(len(a) - 1), a[1:]].sum() for a in answers]
  baselines = [(sum(rewards) - r) / 3 for r in rewards]
  (-sum((r - b) * p for r, b, p in zip(rewards, baselines, logps, strict=True)) / 4).backward()

  mask = np.arange(6) < np.array(lengths)[:, None]
  before, after = (np.zeros((4, 6), int) for _ in range(2))
  for row, answer in enumerate(answers):
    before[row, : len(answer) - 1], after[row, : len(answer) - 1] = answer[:-1], answer[1:]
  settings = defaults.settings(rloo)
  advantages = rloo.advantages([rewards], [lengths], settings)[0]
  policy = lambda w: jnp.take_along_axis(jax.nn.log_softmax(w[before]), after[..., None], -1)[
    ..., 0
  ]
  batch = batches.batch(policy(weights_VV), advantages[:, None] * mask, mask=mask)
  token_weights = aggregation.token_weights(batch, settings.aggregate, settings.max_tokens)
  ours = jax.grad(lambda w: rloo.loss(policy(w), batch, token_weights, settings)[0])(weights_VV)
  np.testing.assert_allclose(ours, theirs.grad.numpy(), atol=1e-6)
