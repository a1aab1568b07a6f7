"""Two models on the same pairs, by hand."""

import numpy as np
import pytest

from cot_rm.benchmarks import comparison, readings, rules


@pytest.fixture
def sides(example, says):
  """`(choices as given, exchanged) -> judgements` of pairs whose first candidate is better."""

  def make(given, swapped, tasks=None):
    rows = [example(1, task) for task in tasks or ["image_understanding"] * len(given)]
    ask = lambda one, answer: None if answer == "-" else says(one, answer)
    return (
      [ask(row, answer) for row, answer in zip(rows, given, strict=True)],
      [ask(row.swapped(), answer) for row, answer in zip(rows, swapped, strict=True)],
    )

  return make


def test_credits_of_pairs_are_means_of_their_orders(sides):
  first = sides([1, 1, 2, None], [2, 1, 1, 1])  # 1, 1/2, 0, 0
  second = sides([1, 1, 2, 1], [2, 2, 1, 1])  # 1, 1, 0, 1/2
  found = comparison.compare(first, second, rules.Rule())
  assert found.gains == [0, 0.5, 0, 0.5] and found.rows == [0, 1, 2, 3]
  overall = found.figures["overall"]
  assert (overall["first"], overall["second"], overall["difference"]) == (0.375, 0.625, 0.25)
  assert overall["n"] == 4 and overall["interval"][0] <= 0.25 <= overall["interval"][1]
  counts = {
    name: found.figures[name] for name in ("both", "first_alone", "second_alone", "neither")
  }
  assert counts == {"both": 1, "first_alone": 0, "second_alone": 2, "neither": 1}


def test_pairs_that_only_one_model_answered_are_left_out(sides):
  first = sides([1, 2, "-", 1], [2, 1, 1, "-"])
  second = sides([1, 1, 1, 1], [2, 2, 1, 2])
  found = comparison.compare(first, second, rules.Rule())
  assert found.rows == [0, 1] and found.figures["overall"]["n"] == 2
  with pytest.raises(ValueError, match="no pair has an answer of both models"):
    comparison.compare(sides(["-"], [1]), sides([1], ["-"]), rules.Rule())


def test_pairs_that_people_call_equal_are_left_out(sides, example, says):
  first, second = sides([1, 2], [2, 1]), sides([1, 1], [2, 2])
  equal = example(None, tie=True)
  for given, swapped in (first, second):
    given.insert(0, says(equal, 1))
    swapped.insert(0, says(equal.swapped(), 1))
  found = comparison.compare(first, second, rules.Rule(tau="agreed"))
  assert found.rows == [1, 2] and found.gains == [0, 1]


def test_answers_that_do_not_count_take_their_pair_out(sides):
  rule = rules.Rule(reading=readings.grammar_or_left_out)
  found = comparison.compare(sides([1, None], [2, 2]), sides([2, 1], [1, 2]), rule)
  assert found.rows == [0] and found.gains == [-1]


def test_families_have_their_own_differences(sides):
  tasks = ["image_understanding", "image_generation"] * 20
  first, second = sides([1] * 40, [1] * 40, tasks), sides([1, 2] * 20, [2, 1] * 20, tasks)
  found = comparison.compare(first, second, rules.Rule()).figures
  assert found["families"]["image_understanding"]["difference"] == 0.5
  assert found["families"]["image_generation"]["difference"] == -0.5
  assert found["overall"]["difference"] == 0
  low, high = found["overall"]["interval"]
  assert np.isclose(low, -high, atol=0.05) and 0.1 < high < 0.2  # 1.96 * 0.5 / sqrt(40) = 0.155
