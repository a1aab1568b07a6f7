"""The accuracy reward."""

import math

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.prompts import direct, think
from cot_rm.rewards import accuracy


def rewarded(text, gold, task="video_generation", grammar=think):
  completion = schema.Completion(text, np.zeros(1), np.zeros(1), "stop")
  example = schema.Example("a", "test", task, "q", gold=gold)
  return accuracy.reward([completion], [example], grammar)[0]


@pytest.mark.parametrize(
  ("text", "gold", "expected"),
  [
    ("<think>a</think><answer>Video 2 is better</answer>", 2, 1.0),
    ("<think>a</think><answer>Video 2 is better</answer>", 1, 0.0),
    ("<think>a</think><answer>Video 2 is better.</answer>", 2, 0.0),
    ("<think>a</think><answer>Image 2 is better</answer>", 2, 0.0),
    ("Video 2 is better", 2, 0.0),
    ("", 2, 0.0),
  ],
)
def test_only_the_exact_verdict_earns_the_reward(text, gold, expected):
  assert rewarded(text, gold) == expected


def test_without_a_gold_there_is_no_reward_to_give():
  assert math.isnan(rewarded("<think>a</think><answer>Video 2 is better</answer>", None))


def test_a_direct_answer_earns_it_too():
  assert rewarded("Video 2 is better.", 2, grammar=direct) == 1.0
