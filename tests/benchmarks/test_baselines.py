"""Judges without a model: what each is worth by each way of asking."""

import dataclasses
import functools

import pytest

from cot_rm.benchmarks import baselines, pairs, rules, vl_rewardbench


@pytest.fixture
def texts(example):
  """100 pairs of answers; in 60 the better one is longer, in 10 both are equally long."""
  out = []
  for row in range(100):
    better = "a" * (3 if row < 60 else 1 if row < 90 else 2)
    made = dataclasses.replace(example(1 + row % 2, id=f"mmmu_{row}"), id=f"pair {row}")
    answers = (better, "bb") if made.gold == 1 else ("bb", better)
    out.append(dataclasses.replace(made, responses=answers))
  return out


def figures(examples, mode="both"):
  return baselines.figures(examples, pairs.MODES[mode], functools.partial(pairs.score, mode=mode))


def test_in_both_orders_a_position_or_a_coin_is_worth_a_half(texts):
  found = figures(texts)
  assert found["always the first"]["accuracy"] == 0.5
  assert found["always the first"]["first_slot_accuracy"] == 1
  assert found["always the first"]["order_consistency"] == 0
  low, high = found["a coin"]["intervals"]["accuracy"]
  assert low < 0.5 < high and figures(texts) == found  # the same in every run


def test_lengths_are_judged_alike_in_both_orders(texts):
  found = figures(texts)
  long, short = found["the longer answer"], found["the shorter answer"]
  assert 0.6 <= long["accuracy"] <= 0.7 and 0.3 <= short["accuracy"] <= 0.4
  assert long["accuracy"] + short["accuracy"] == pytest.approx(0.9 + 2 * (long["accuracy"] - 0.6))
  equal = [e for e in texts if len({*map(len, e.responses)}) == 1]
  assert len(equal) == 10
  others = [e for e in texts if e not in equal]
  assert figures(others)["the longer answer"]["order_consistency"] == 1


def test_where_the_better_one_is_always_first_so_is_always_first_perfect(texts):
  """As R1-Reward's scripts ask."""
  rows = [e if e.gold == 1 else e.swapped() for e in texts]
  score = functools.partial(vl_rewardbench.score, mode="r1_reward")
  found = baselines.figures(rows, vl_rewardbench.MODES["r1_reward"], score)
  assert found["always the first"]["accuracy"] == 1
  assert found["the longer answer"]["families"]["reasoning"] == pytest.approx(0.65, abs=0.05)


def test_pictures_have_no_lengths(example, texts):
  pictures = [example(1, "image_generation")]
  assert [*figures(pictures)] == ["always the first", "a coin"]
  both = figures([*pictures, *texts])
  assert both["the longer answer"]["n"] == 100 and both["a coin"]["n"] == 101


def test_figures_of_texts_are_not_those_of_a_judge_that_writes_none(texts):
  assert not {"parse_rate", "mean_length", "cut", "ties"} & figures(texts)["a coin"].keys()
  assert rules.Rule().orders(texts[:1]) == [(0, 1)]
