"""Returns of tokens, baselines of groups and rollouts, by hand."""

import numpy as np
import pytest

from cot_rm.algorithms import advantage_estimators, reinforce_pp
from tests import defaults

SETTINGS = defaults.settings(reinforce_pp)


def test_a_token_s_return_is_the_reward_less_the_kl_from_it_on():
  found, counts = advantage_estimators.token_returns(
    [[2.0]], [[3]], 0.1, np.array([[[1.0, 2.0, -3.0, 50.0]]])
  )
  np.testing.assert_allclose(found[0, 0, :3], [2 - 0.0, 2 + 0.1, 2 + 0.3])
  np.testing.assert_array_equal(counts, [[[1, 1, 1, 0]]])


def test_without_a_kl_all_tokens_of_an_answer_have_its_reward():
  found, counts = advantage_estimators.token_returns([[2.0, np.nan]], [[3, 4]], 0.0)
  assert found[0, 0] == 2 and counts.tolist() == [[[3], [0]]]


def test_a_kl_without_enough_log_ratios_is_refused():
  with pytest.raises(ValueError, match="KL weight of 0.1 .* up to 3 tokens; it is None"):
    advantage_estimators.token_returns([[1.0]], [[3]], 0.1)
  with pytest.raises(ValueError, match="up to 3 tokens; it has 2 tokens"):
    advantage_estimators.token_returns([[1.0]], [[3]], 0.1, np.zeros((1, 1, 2)))


def test_a_rollout_is_normalised_over_its_tokens():
  # 3 tokens of reward 1 and 1 of reward 0: mean 3/4, variance 3/16.
  z, mean = advantage_estimators.whitened_returns([[1.0], [0.0]], [[3], [1]], SETTINGS)
  assert mean == 0.75
  np.testing.assert_allclose(z[:, 0, 0], [0.25 / np.sqrt(3 / 16), -0.75 / np.sqrt(3 / 16)])


def test_one_wrong_among_255_right():
  # Published as -15.96; the population's deviation gives -15.97.
  z, _ = advantage_estimators.whitened_returns(
    [[0.0]] + [[1.0]] * 255, np.full((256, 1), 9), SETTINGS
  )
  assert z[0, 0, 0] == pytest.approx(-15.97, abs=5e-3)
  np.testing.assert_allclose(z[1:, 0, 0], 0.063, atol=5e-4)


def test_a_rollout_of_equal_rewards_has_no_advantages():
  z, _ = advantage_estimators.whitened_returns(
    np.full((7, 1), 1.7 / 3), np.arange(1, 8)[:, None], SETTINGS
  )
  np.testing.assert_array_equal(z, 0)


def test_a_reward_that_failed_counts_nowhere():
  z, mean = advantage_estimators.whitened_returns(
    [[1.0], [0.0], [np.nan]], [[1], [1], [9]], SETTINGS
  )
  assert mean == 0.5
  np.testing.assert_allclose(z[:, 0, 0], [1, -1, 0])


def test_rewards_are_clamped():
  _, mean = advantage_estimators.whitened_returns(
    [[100.0], [-100.0], [3.0]], np.ones((3, 1)), SETTINGS
  )
  assert mean == pytest.approx(1.0)


def test_fractions_of_zero_advantages_are_of_tokens_by_right_and_wrong():
  found = advantage_estimators.zero_advantages(
    [[0.0, 1.0], [0.0, 0.0]], [[1, 2], [3, 4]], [[1, 1], [0, np.nan]]
  )
  assert found == {"rl/filtered": 0.8, "rl/filtered_right": 1 / 3, "rl/filtered_wrong": 1.0}
  found = advantage_estimators.zero_advantages(
    [[[0.0, 1.0, 0.0], [0.0, 2.0, 3.0]]], [[2, 3]], [[1, 1]]
  )
  assert found["rl/filtered"] == 0.4 and np.isnan(found["rl/filtered_wrong"])


def test_groups_are_effective_where_any_token_has_an_advantage():
  assert advantage_estimators.effective_groups([[0.0, 0.0], [0.0, -0.5]]) == {
    "rl/effective_groups": 0.5
  }
  by_token = [[[0.0, 0.0]], [[0.0, 2.0]], [[0.0, 0.0]], [[0.0, 0.0]]]
  assert advantage_estimators.effective_groups(by_token) == {"rl/effective_groups": 0.25}


def test_a_zero_variance_group_is_effective_where_others_are_its_baseline():
  advantages = reinforce_pp.advantages([[1.0, 1.0], [0.0, 0.0]], np.ones((2, 2)), SETTINGS)
  assert advantage_estimators.effective_groups(advantages) == {"rl/effective_groups": 1.0}
