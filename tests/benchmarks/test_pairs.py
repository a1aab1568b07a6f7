"""Accuracy on pairs, worked out by hand."""

import dataclasses

import pytest

from cot_rm.benchmarks import intervals, pairs
from cot_rm.schema import TIE, Verdict


@pytest.fixture
def given(example, says):
  """Pair 1: right both ways. 2: always says 1. 3: unparsable once. 4: wrong both ways."""
  image, video = "image_generation", "video_generation"
  return [
    says(example(1, image), 1),
    says(example(1, image), 1),
    says(example(2, video), None, length=10, finish="length"),
    says(example(2, image), 1),
  ]


@pytest.fixture
def swapped(example, says):
  image, video = "image_generation", "video_generation"
  return [
    says(example(2, image), 2),
    says(example(2, image), 1),
    says(example(1, video), 1),
    says(example(1, image), 2),
  ]


def test_every_figure_by_hand(given, swapped):
  found = pairs.score(given, swapped)
  assert found["accuracy"] == 4 / 8
  assert found["first_slot_accuracy"] == 3 / 4
  assert found["order_consistency"] == 2 / 4
  assert found["parse_rate"] == 7 / 8
  assert found["accuracy_parsed"] == round(4 / 7, 6)
  assert found["verdict_slots"] == round(5 / 7, 6)
  assert found["mean_length"] == (7 * 4 + 10) / 8
  assert found["cut"] == 1 / 8
  assert found["families"] == {"image_generation": 0.5, "video_generation": 0.5}
  assert found["n"] == 4 and "fidelity" not in found and "contradictions" not in found


def test_an_answer_is_a_verdict_a_tie_or_unparsable(example, says):
  tie = dataclasses.replace(says(example(1), None), verdicts=(Verdict(None, error=TIE),))
  found = pairs.score([says(example(1), 1), says(example(1), None), tie, tie], [None] * 4)
  assert (found["parse_rate"], found["unparsable"], found["ties"]) == (0.25, 0.25, 0.5)


def test_intervals_take_a_pair_for_a_cluster(given, swapped):
  found = pairs.score(given, swapped)["intervals"]
  right = [1, 1, 0, 0, 1, 0, 1, 0]
  assert found["accuracy"] == intervals.share(right, [0, 1, 2, 3] * 2)
  assert found["first_slot_accuracy"] == intervals.share([1, 1, 1, 0], range(4))
  assert found["order_consistency"] == intervals.share([1, 0, 0, 1], range(4))
  assert found["families/video_generation"] == intervals.share([0, 1], [0, 0])


def test_one_order_alone_is_scored_without_what_needs_both(given):
  found = pairs.score(given, [None] * 4, mode="first")
  assert found["accuracy"] == 2 / 4 and "order_consistency" not in found
  assert pairs.MODES["first"].orders(given) == [(0,)] * 4


def test_of_answers_without_a_verdict_nothing_is_said_about_verdicts(example, says):
  found = pairs.score([says(example(1, "image_generation"), None)], [None], mode="first")
  assert found["accuracy"] == found["parse_rate"] == 0
  assert not found.keys() & {"accuracy_parsed", "verdict_slots"}
  assert "accuracy_parsed" not in found["definitions"]


def test_fidelity_is_the_mean_over_what_can_be_said(given, swapped):
  values = iter([1.0, None, 0.5, None, None, None, None, None])
  assert pairs.score(given, swapped, fidelity=lambda *_: next(values))["fidelity"] == 0.75


def test_contradictions_are_a_share_of_the_parsed_answers(given, swapped):
  asked = []
  values = iter([True, None, False, None, True, False, False])

  def contradicts(text, task):
    asked.append((text, task))
    return next(values)

  found = pairs.score(given, swapped, contradicts=contradicts)
  assert len(asked) == 7 and asked[0] == (given[0].completions[0].text, "image_generation")
  assert found["contradictions"] == round(2 / 7, 6)
  assert found["contradictions_decided"] == round(5 / 7, 6)


def test_a_pair_without_a_gold_answer_is_an_error(example, says):
  with pytest.raises(ValueError, match="'e' has no gold answer"):
    pairs.score([says(example(None), 1)], [says(example(None), 1)])
  with pytest.raises(ValueError, match="no pairs"):
    pairs.score([], [])


def test_figures_as_metrics_and_as_a_line(given, swapped):
  found = pairs.score(given, swapped)
  flat = pairs.to_metrics("check", found)
  assert flat["check/accuracy/video_generation"] == 0.5
  assert all(isinstance(value, int | float) for value in flat.values())
  assert pairs.summary_line(found).startswith("accuracy 50.0 %, pictures 50.0 %, consistent 50.0 %")


def test_an_unknown_mode_names_the_known_ones(given, swapped):
  with pytest.raises(ValueError, match="mode 'frist'; did you mean 'first'. known: both, first"):
    pairs.score(given, swapped, mode="frist")


def test_the_rows_of_which_people_prefer_a_candidate(example, says):
  one, equal = says(example(1), 1), says(example(None, tie=True), 1)
  assert pairs.decided([one, equal, None, None], [None, None, one, equal]) == [0, 2]
