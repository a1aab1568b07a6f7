"""Accuracy on pairs, worked out by hand."""

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.benchmarks import pairs
from cot_rm.judge import Judgement


def judged(gold, answer, task="image_generation", length=4, finish="stop"):
  example = schema.Example("e", "s", task, "q", gold=gold)
  done = schema.Completion("text", np.zeros(length, np.int32), np.zeros(length), finish)
  return Judgement(example, None, (done,), (schema.Verdict(answer),))


# Pair 1: right both ways. 2: always says 1. 3: unparsable once. 4: wrong both ways.
GIVEN = [
  judged(1, 1),
  judged(1, 1),
  judged(2, None, "video_generation", 10, "length"),
  judged(2, 1),
]
SWAPPED = [judged(2, 2), judged(2, 1), judged(1, 1, "video_generation"), judged(1, 2)]


def test_every_figure_by_hand():
  found = pairs.score(GIVEN, SWAPPED)
  assert found["accuracy"] == 4 / 8
  assert found["first_slot_accuracy"] == 3 / 4
  assert found["order_consistency"] == 2 / 4
  assert found["parse_rate"] == 7 / 8
  assert found["accuracy_parsed"] == round(4 / 7, 6)
  assert found["mean_length"] == (7 * 4 + 10) / 8
  assert found["cut"] == 1 / 8
  assert found["families"] == {"image_generation": 0.5, "video_generation": 0.5}
  assert found["n"] == 4 and "fidelity" not in found


def test_fidelity_is_the_mean_over_what_can_be_said():
  values = iter([1.0, None, 0.5, None, None, None, None, None])
  assert pairs.score(GIVEN, SWAPPED, fidelity=lambda *_: next(values))["fidelity"] == 0.75


def test_a_pair_without_a_gold_answer_is_an_error():
  with pytest.raises(ValueError, match="'e' has no gold answer"):
    pairs.score([judged(None, 1)], [judged(None, 1)])
  with pytest.raises(ValueError, match="no pairs"):
    pairs.score([], [])


def test_figures_as_metrics_and_as_a_line():
  found = pairs.score(GIVEN, SWAPPED)
  assert pairs.flat("check", found)["check/accuracy/video_generation"] == 0.5
  assert pairs.line(found).startswith("accuracy 50.0 %, pictures 50.0 %, consistent 50.0 %")
