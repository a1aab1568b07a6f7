"""The evaluation of one model: figures about pairs that it was not trained on."""

import numpy as np

from cot_rm.benchmarks import readings, rules
from cot_rm.data import answer_log
from cot_rm.schema import Completion, Example, Verdict
from cot_rm.stages import evaluation


def judged(row, order, gold, answer):
  example = Example(str(row), "", "image_generation", "q", gold=gold)
  done = Completion("", np.zeros(1, np.int32), np.zeros(1), "stop")
  return answer_log.LoggedJudgement(row, order, example, (done,), (Verdict(answer),))


def test_pairs_that_were_trained_on_are_left_out_of_the_clean_accuracy():
  given = [judged(row, 0, 1, 1 if row < 3 else 2) for row in range(4)]
  swapped = [judged(row, 1, 2, 2 if row < 3 else 1) for row in range(4)]
  base = {"intervals": {"accuracy": [0, 1]}, "definitions": {}}
  found = evaluation.clean(base, given, swapped, {"0", "1"}, rules.Rule())
  assert found["accuracy_clean"] == 0.5 and found["definitions"]["accuracy_clean"]["n"] == 2
  assert found["intervals"].keys() == {"accuracy", "accuracy_clean"}
  assert evaluation.clean(base, given, swapped, {"0", "1", "2", "3"}, rules.Rule()) == {}


def test_clean_pairs_without_an_answer_that_counts_have_no_interval():
  """MMRB2's script leaves out what has no verdict."""
  given = [judged(row, 0, 1, None) for row in range(2)]
  base = {"intervals": {}, "definitions": {}}
  rule = rules.Rule(reading=readings.grammar_or_left_out)
  found = evaluation.clean(base, given, [None] * 2, {"0"}, rule)
  assert found["accuracy_clean"] == 0 and found["intervals"] == {}
