"""Weighted sums of rewards."""

import math
import types

import numpy as np
import pytest

from cot_rm import rewards, schema
from cot_rm.prompts import r1_reward, think


def completion(text):
  return schema.Completion(text, np.zeros(1, np.int32), np.zeros(1, np.float32), "stop")


def example(name, gold):
  return schema.Example(name, "test", "image_understanding", "q", (), ("a", "b"), gold)


RIGHT = completion("<think>a</think><answer>1</answer>")
LOOSE = completion("<think>a</think> <answer>1</answer>")
WRONG = completion("<think>a</think><answer>2</answer>")
JUNK = completion("1")


def test_the_sum_is_weighted_and_shaped_by_group():
  rewards_QG, metrics = rewards.score(
    [[RIGHT, LOOSE], [WRONG, JUNK]],
    [example("a", 1), example("b", 1)],
    r1_reward,
    {"accuracy": 1.0, "format": 0.5},
  )
  assert rewards_QG.dtype == np.float32
  np.testing.assert_allclose(rewards_QG, [[1.5, 1.0], [0.5, 0.0]])
  assert metrics == {
    "reward/accuracy": 0.5,
    "reward/format": 0.5,
    "reward/total": 0.75,
    "reward/failed": 0.0,
  }


def test_a_missing_gold_is_nan_and_counted_and_out_of_the_means():
  rewards_QG, metrics = rewards.score(
    [[RIGHT], [WRONG]],
    [example("a", 1), example("b", None)],
    r1_reward,
    {"accuracy": 1.0, "format": 0.5},
  )
  assert rewards_QG[0, 0] == 1.5 and math.isnan(rewards_QG[1, 0])
  assert metrics["reward/failed"] == 1 and metrics["reward/accuracy"] == 1.0


def test_a_weight_of_zero_is_logged_and_left_out_of_the_sum():
  rewards_QG, metrics = rewards.score(
    [[RIGHT]], [example("a", None)], r1_reward, {"accuracy": 0.0, "format": 0.5}
  )
  assert rewards_QG[0, 0] == 0.5
  assert math.isnan(metrics["reward/accuracy"]) and metrics["reward/failed"] == 1


def _breaking_on(bad):
  def formatted(text):
    if text in bad:
      raise RuntimeError("judge out of reach")
    return True

  return types.SimpleNamespace(formatted=formatted)


def test_a_reward_that_breaks_on_a_sample_is_nan_there_and_nowhere_else():
  rewards_QG, metrics = rewards.score(
    [[RIGHT, JUNK]], [example("a", 1)], _breaking_on([JUNK.text]), {"format": 1.0}
  )
  assert rewards_QG[0, 0] == 1.0 and math.isnan(rewards_QG[0, 1])
  assert metrics["reward/failed"] == 1 and metrics["reward/format"] == 1.0


def test_a_reward_that_breaks_on_every_sample_is_raised():
  with pytest.raises(RuntimeError, match="out of reach"):
    rewards.score(
      [[RIGHT, JUNK]], [example("a", 1)], _breaking_on([JUNK.text, RIGHT.text]), {"format": 1.0}
    )


@pytest.mark.parametrize(
  ("weights", "message"),
  [({"acuracy": 1.0}, "'acuracy'; did you mean 'accuracy'"), ({}, "no reward named")],
)
def test_weights_name_known_rewards(weights, message):
  with pytest.raises(ValueError, match=message):
    rewards.score([[RIGHT]], [example("a", 1)], r1_reward, weights)


def test_ragged_groups_name_the_sample():
  with pytest.raises(ValueError, match="'b': 1 completions where the first group has 2"):
    rewards.score(
      [[RIGHT, WRONG], [RIGHT]], [example("a", 1), example("b", 1)], think, {"format": 1.0}
    )


def test_groups_and_examples_are_in_step():
  with pytest.raises(ValueError, match="1 groups of completions for 2 examples"):
    rewards.score([[RIGHT]], [example("a", 1), example("b", 1)], think, {"format": 1.0})
