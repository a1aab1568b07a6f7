"""Tau and diff, worked out by hand."""

import dataclasses

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.benchmarks import intervals, readings, rules, ties

AGREED = rules.Rule(tau="agreed")
# (what people say, the verdict as given, the verdict with the candidates exchanged): by row
# whether tau counts it, and how many of its two orders are right.
ROWS = (
  (1, 1, 2, 1, 2),  # both orders name candidate 1
  (1, 2, 1, 0, 0),  # both name candidate 2
  (2, 1, 1, 0, 1),  # always the first: a tie is predicted, and it is none
  (2, None, 1, 0, 1),  # no verdict in one order: a tie is predicted
  (2, 2, 1, 1, 2),
  (None, 1, 1, 1, 0),  # the orders disagree: a tie, which it is
  (None, None, 2, 1, 0),
  (None, 2, 1, 0, 0),  # both name candidate 2
)


@pytest.fixture
def table(example, says):
  """(judgements, swapped) of ROWS; the last three pairs are of videos."""
  given, swapped = [], []
  for row, (gold, one, other, *_) in enumerate(ROWS):
    task = "video_generation" if row >= 5 else "image_generation"
    made = example(gold, task, **({} if gold else {"tie": True}))
    given.append(says(made, one))
    swapped.append(says(made.swapped(), other))
  return given, swapped


def test_both_orders_must_agree_for_tau_and_each_counts_for_diff(table):
  assert ties.credits(*table, AGREED).tolist() == [row[3] for row in ROWS]
  found = ties.score(*table, AGREED)
  assert found["tau"] == 4 / 8 and found["diff"] == found["accuracy"] == 6 / 10
  assert found["n"] == 5 and found["definitions"]["tau"]["n"] == 8
  assert found["definitions"]["diff"]["n"] == 5
  assert found["families"] == {"image_generation": 0.6}  # no video has a preference
  assert found["families_tau"] == {"image_generation": 0.4, "video_generation": 0.666667}
  assert found["definitions"]["families_tau/video_generation"]["n"] == 3
  right = [row[3] for row in ROWS]
  assert found["intervals"]["tau"] == intervals.share(right, range(8))
  assert found["intervals"]["diff"] == found["intervals"]["accuracy"]


def test_one_order_alone_predicts_a_tie_where_it_has_no_verdict(table):
  given, swapped = table
  one = dataclasses.replace(AGREED, orders=rules.first)
  assert ties.credits(given, [None] * 8, one).tolist() == [1, 0, 0, 0, 1, 0, 1, 0]
  assert ties.credits([None] * 8, swapped, one).tolist() == [1, 0, 1, 1, 1, 0, 0, 0]


def test_credits_of_each_answer_are_averaged_over_the_orders(table):
  each = rules.Rule(tau="each")  # by the grammar, where no verdict is a tie
  assert ties.credits(*table, each).tolist() == [1, 0, 0.5, 0.5, 1, 0, 0.5, 0]
  left_out = rules.Rule(tau="each", reading=readings.grammar_or_left_out)
  assert ties.credits(*table, left_out).tolist() == [1, 0, 0.5, 0.5, 1, 0, 0, 0]


def test_a_rule_without_a_credit_for_ties_has_no_tau(table):
  found = ties.score(*table, rules.Rule())
  assert "tau" not in found and "families_tau" not in found and found["diff"] == 0.6


def test_pairs_that_are_all_called_equal_are_no_benchmark(table):
  given, swapped = table
  with pytest.raises(ValueError, match="none of 3 pairs has a gold answer"):
    ties.score(given[5:], swapped[5:], AGREED)


def test_a_judge_that_knows_all_ties_and_all_others_has_all(example, says):
  golds = [1, 2, None] * 5
  rows = [example(gold, "video_generation") for gold in golds]
  given = [says(row, row.gold) for row in rows]
  swapped = [says(row.swapped(), row.swapped().gold) for row in rows]
  found = ties.score(given, swapped, AGREED)
  assert found["tau"] == found["diff"] == 1


def test_a_verdict_that_calls_both_equal_predicts_a_tie(example, says):
  made = example(None, "image_generation", tie=True)
  equal = says(made, None, text="Both images are equally good.")
  equal = dataclasses.replace(equal, verdicts=(schema.Verdict(None, error=schema.TIE),))
  given = [equal, says(example(1, "image_generation"), 1)]
  found = ties.score(given, [None, None], dataclasses.replace(AGREED, orders=rules.first))
  assert found["tau"] == 1 and found["ties"] == 0  # `ties` is over pairs with a preference


def test_a_random_judge_has_a_quarter_of_the_decided_pairs_and_half_of_the_ties(example, says):
  draw = np.random.default_rng(0)
  rows = [example(1 if draw.random() < 0.5 else None, "video_generation") for _ in range(10_000)]
  given = [says(row, int(draw.integers(1, 3))) for row in rows]
  swapped = [says(row.swapped(), int(draw.integers(1, 3))) for row in rows]
  found = ties.score(given, swapped, AGREED)
  assert found["tau"] == pytest.approx((0.25 + 0.5) / 2, abs=0.02)
  assert found["diff"] == pytest.approx(0.5, abs=0.02)
