"""Mass of the verdict tokens, of the verdicts that have it."""

import dataclasses

import pytest

from cot_rm.benchmarks import answers, label_tokens, pairs, rules
from cot_rm.schema import Verdict


@pytest.fixture
def judged(example, says):
  """Judgements with these verdicts."""

  def make(*verdicts):
    return [dataclasses.replace(says(example(1), v.answer), verdicts=(v,)) for v in verdicts]

  return make


def test_every_figure_by_hand(judged):
  rows = judged(
    Verdict(1, label_mass=1.0, label_top=True),
    Verdict(2, label_mass=0.5, label_top=False),
    Verdict(1, label_mass=0.9),
    Verdict(1),
    Verdict(None, error="no verdict"),
  )
  found = label_tokens.measure(answers.tabulate(rows, [None] * 5, rules.Rule()))
  assert found == {"label_mass": (pytest.approx(0.8), 3), "label_top": (0.5, 2)}
  scored = pairs.score(rows, [None] * 5, mode="first")
  assert scored["label_mass"] == 0.8 and scored["definitions"]["label_top"]["n"] == 2


def test_answers_of_older_logs_have_none(judged):
  found = pairs.score(judged(Verdict(1), Verdict(2)), [None] * 2, mode="first")
  assert not found.keys() & {"label_mass", "label_top"}
