"""Accuracy by length, by hand."""

import dataclasses

import pytest

from cot_rm.benchmarks import answers, intervals, lengths, pairs, rules


@pytest.fixture
def judged(example, says):
  """`(characters of 1, of 2, gold, answer)... -> judgements` of pairs of texts."""

  def make(*rows):
    return [
      says(dataclasses.replace(example(gold), responses=("x" * one, "y" * two)), answer)
      for one, two, gold, answer in rows
    ]

  return make


def measured(given, swapped=None):
  swapped = swapped or [None] * len(given)
  return lengths.measure(answers.tabulate(given, swapped, rules.Rule()))


def test_every_figure_by_hand(judged):
  rows = (
    *[(100, 40, 1, 1), (100, 60, 1, 2), (80, 100, 2, 2), (95, 100, 2, None)],  # better is longer
    *[(100, 100, 1, 1), (100, 20, 2, 1), (100, 89, 2, 2)],
  )
  found = measured(judged(*rows))
  assert found.numbers["accuracy_longer"] == (0.5, 4)
  assert found.numbers["accuracy_shorter"] == (0.5, 2)
  assert found.numbers["gold_longer"] == (pytest.approx(4 / 6), 6)
  assert found.numbers["verdicts_longer"] == (pytest.approx(3 / 5), 5)
  bins = {n: x for n, x in found.numbers.items() if n.startswith("lengths/")}
  assert bins == {
    "lengths/shorter by 50 % or more": (0.0, 1),
    "lengths/shorter by 10 to 25 %": (1.0, 1),
    "lengths/within 10 %": (0.5, 2),
    "lengths/longer by 10 to 25 %": (1.0, 1),
    "lengths/longer by 25 to 50 %": (0.0, 1),
    "lengths/longer by 50 % or more": (1.0, 1),
  }
  assert found.bounds["accuracy_longer"] == intervals.share([1, 0, 1, 0], range(4))
  assert found.bounds["verdicts_longer"] == intervals.share([1, 0, 1, 1, 0], range(5))


def test_the_order_of_the_candidates_does_not_matter(judged, says):
  given = judged((30, 10, 1, 1), (10, 30, 1, 2))
  swapped = [says(j.example.swapped(), 3 - j.verdicts[0].answer) for j in given]
  found = measured(given, swapped)
  assert found.numbers["accuracy_longer"] == (1.0, 1)
  assert found.numbers["accuracy_shorter"] == (0.0, 1)
  assert found.numbers["verdicts_longer"] == (1.0, 4)
  assert found.bounds["accuracy_longer"] == intervals.share([1, 1], [0, 0])


def test_pairs_of_pictures_and_texts_of_equal_length_say_nothing(example, says, judged):
  assert measured([says(example(1, "image_generation"), 1)]) == ({}, {})
  found = measured(judged((9, 9, 1, 1), (9, 9, 2, 1)))
  assert {*found.numbers} == {"lengths/within 10 %"}


def test_the_bins_are_in_the_figures_by_name_with_n_and_interval(judged):
  found = pairs.score(judged((100, 40, 1, 1), (40, 100, 1, 2)), [None] * 2, mode="first")
  assert found["lengths"] == {"shorter by 50 % or more": 0.0, "longer by 50 % or more": 1.0}
  assert {name for name in found["definitions"] if name.startswith("lengths/")} == {
    f"lengths/{name}" for name in found["lengths"]
  }
  assert "lengths/longer by 50 % or more" in found["intervals"]
