"""Truncated importance weights and answers left out, by hand."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from cot_rm.algorithms import importance_correction, policy_gradient, reinforce_pp
from tests import defaults
from tests.algorithms import batches

# Ratios e^0.5, e^2 in the first answer, e^-3 in the second; the last token does not count.
BATCH = batches.batch(
  [[-1.0, -1.0, -4.0, -1.0]],
  [[1.0, -1.0, 2.0, 0.0]],
  mask=[[1, 1, 1, 0]],
  segments=[[1, 1, 2, 0]],
  sampler=[[-1.5, -3.0, -1.0, -90.0]],
)


def test_a_token_weighs_its_ratio_up_to_the_cap():
  found, metrics = importance_correction.importance_weights(BATCH, defaults.correction(cap=2.0))
  np.testing.assert_allclose(found, [[math.exp(0.5), 2, math.exp(-3), 1]], rtol=1e-6)
  assert float(metrics["correction/capped"]) == pytest.approx(1 / 3)
  assert float(metrics["correction/left_out"]) == 0


@pytest.mark.parametrize(
  "bounds, want",
  [  # the answers' ratios are e^1.25 and e^-3
    (dict(low=0.1), [1, 1, 0]),
    (dict(high=3.0), [0, 0, 1]),
    (dict(low=0.01, high=4.0), [1, 1, 1]),
    (dict(low=0.5, high=2.0), [0, 0, 0]),
  ],
)
def test_an_answer_too_far_off_is_masked_out(bounds, want):
  found, metrics = importance_correction.importance_weights(BATCH, defaults.correction(**bounds))
  np.testing.assert_array_equal(found[0, :3], want)
  assert float(metrics["correction/left_out"]) == pytest.approx(1 - np.mean(want), abs=1e-6)


def test_in_the_advantages_it_weighs_each_token_s_loss():
  factors, _ = jax.jit(importance_correction.importance_weights, static_argnums=1)(
    BATCH, defaults.correction(cap=2.0)
  )
  corrected = dataclasses.replace(BATCH, advantages=BATCH.advantages * factors)
  log_ratio = policy_gradient.log_ratio(BATCH.old_logps + 0.3, BATCH)
  settings = defaults.settings(reinforce_pp)
  np.testing.assert_allclose(
    policy_gradient.clipped_surrogate(log_ratio, corrected, settings),
    factors * policy_gradient.clipped_surrogate(log_ratio, BATCH, settings),
    rtol=1e-6,
  )


def test_off_means_off():
  assert not defaults.correction().enabled and defaults.correction(cap=2.0).enabled
  found, _ = importance_correction.importance_weights(BATCH, defaults.correction())
  np.testing.assert_array_equal(found, 1)


def test_it_needs_both_log_probabilities():
  with pytest.raises(ValueError, match="batch.sampler_logps"):
    importance_correction.importance_weights(
      dataclasses.replace(BATCH, sampler_logps=None), defaults.correction(cap=2.0)
    )


@pytest.mark.parametrize("bad", [dict(cap=0.0), dict(low=1.5), dict(high=0.5), dict(low=-1.0)])
def test_bounds_that_leave_out_agreement_name_the_field(bad):
  with pytest.raises(ValueError, match="importance_correction.Config"):
    defaults.correction(**bad)
