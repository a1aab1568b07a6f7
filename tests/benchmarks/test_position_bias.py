"""Position bias by hand, and only of the pairs that were asked in both orders."""

import pytest

from cot_rm.benchmarks import answers, intervals, pairs, position_bias, readings, rules


def measured(given, swapped, **rule):
  return position_bias.measure(answers.tabulate(given, swapped, rules.Rule(**rule)))


@pytest.fixture
def asked(example, says):
  """`(gold, answer as given, answer exchanged)... -> judgements of both orders`."""

  def make(*rows):
    given = [says(example(gold), first) for gold, first, _ in rows]
    return given, [says(example(gold).swapped(), second) for gold, _, second in rows]

  return make


def test_every_figure_by_hand(asked):
  # Right both ways; always says 1, twice; wrong both ways; only with it second; no verdict once.
  rows = (1, 1, 2), (1, 1, 1), (2, 1, 1), (2, 1, 2), (1, 2, 2), (1, None, 2)
  found = measured(*asked(*rows))
  first, second = [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 1, 1]
  assert found.numbers["position_bias"] == (pytest.approx(3 / 6 - 3 / 6), 6)
  assert found.numbers["right_in_both_orders"] == (pytest.approx(1 / 6), 6)
  assert found.bounds["position_bias"] == intervals.difference(first, second, range(6))
  assert found.bounds["right_in_both_orders"] == intervals.share([1, 0, 0, 0, 0, 0], range(6))


def test_a_judge_that_always_says_the_first_has_a_bias_of_one(asked):
  found = measured(*asked(*[(1, 1, 1), (2, 1, 1), (2, 1, 1)] * 10))
  assert found.numbers["position_bias"].value == 1
  assert found.numbers["right_in_both_orders"].value == 0
  low, high = found.bounds["position_bias"]
  assert 0.7 < low < 0.95 and high == 1


def test_the_difference_is_that_of_the_two_accuracies(asked):
  given, swapped = asked((1, 1, 2), (1, 1, 1), (2, 1, 1))
  found = pairs.score(given, swapped)
  difference = found["first_slot_accuracy"] - found["second_slot_accuracy"]
  assert found["position_bias"] == pytest.approx(difference, abs=2e-6)
  assert found["definitions"]["position_bias"]["n"] == 3


def test_pairs_without_both_answers_have_none(asked):
  given, swapped = asked((1, 1, 2), (1, None, 1))
  assert measured(given, [None, None], orders=rules.first) == ({}, {})
  counted = measured(given, swapped, reading=readings.grammar_or_left_out)
  assert counted.numbers["position_bias"].n == 1


def test_pairs_of_a_cluster_that_always_agree_count_as_one(example, says):
  def both(*clusters):
    given = [says(example(1, id=c), 1) for c in clusters]
    swapped = [says(example(1, id=c).swapped(), 1 if c % 2 else 2) for c in clusters]
    return measured(given, swapped, cluster=lambda e: e.extra["id"])

  once, twice = both(*range(9)), both(*range(9), *range(9))
  assert twice.numbers["position_bias"].n == 18
  for name, bounds in once.bounds.items():
    assert twice.bounds[name] == pytest.approx(bounds, abs=1e-6)
