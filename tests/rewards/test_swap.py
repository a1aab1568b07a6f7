"""The swap reward."""

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.prompts import r1_reward
from cot_rm.rewards import swap

FIRST = schema.Example("a", "test", "image_understanding", "q", (), ("x", "y"), 1)
OTHER = schema.Example("b", "test", "image_understanding", "q", (), ("x", "y"), 1)


def rewarded(*groups):
  """[[reward]] of groups, each (example, a digit or junk for each sample)."""
  completions, examples = [], []
  for example, answers in groups:
    for answer in answers:
      text = f"<think>so</think><answer>{answer}</answer>"
      completions.append(schema.Completion(text, np.zeros(1), np.zeros(1), "stop"))
      examples.append(example)
  verdicts = [r1_reward.parse(c.text, e.task) for c, e in zip(completions, examples, strict=True)]
  left = iter(swap.reward(completions, verdicts, examples, r1_reward, None))
  return [[next(left) for _ in answers] for _, answers in groups]


def test_the_reward_is_the_share_of_the_other_order_that_names_the_same_winner():
  # As given: candidate x, x, y. Exchanged: y, x, y.
  given, swapped = rewarded((FIRST, "112"), (FIRST.swapped(), "121"))
  assert given == pytest.approx([1 / 3, 1 / 3, 2 / 3])
  assert swapped == pytest.approx([1 / 3, 2 / 3, 1 / 3])


def test_a_judge_that_prefers_a_place_gets_nothing():
  assert rewarded((FIRST, "11"), (FIRST.swapped(), "11")) == [[0.0, 0.0], [0.0, 0.0]]


def test_a_sample_outside_the_grammar_names_no_winner_and_does_not_count():
  given, swapped = rewarded((FIRST, "1?"), (FIRST.swapped(), "2?"))
  assert given == [1.0, 0.0] and swapped == [1.0, 0.0]


def test_without_the_other_order_there_is_a_reason_and_no_reward():
  assert rewarded((FIRST, "1?"), (OTHER.swapped(), "2")) == [
    [swap.NO_PARTNER, swap.NO_PARTNER],
    [swap.NO_PARTNER],
  ]
  assert rewarded((FIRST, "12"), (FIRST.swapped(), "??"))[0] == [swap.UNPARSED] * 2


def test_a_pair_finds_its_other_order_wherever_it_stands():
  found = rewarded((FIRST.swapped(), "2"), (OTHER, "1"), (FIRST, "1"), (OTHER.swapped(), "1"))
  assert found == [[1.0], [0.0], [1.0], [0.0]]


def test_an_exchange_of_an_exchange_is_the_order_as_given():
  assert rewarded((FIRST.swapped(), "2"), (FIRST.swapped().swapped(), "1")) == [[1.0], [1.0]]
