"""The table of answers: one row per answer, with its pair, its order and its credit."""

import numpy as np
import pytest

from cot_rm.benchmarks import answers, rules


@pytest.fixture
def table(example, says):
  """Three pairs, the second asked in one order, the third exchanged alone; credits 1, NaN, 0, 1."""
  rows = [example(1), example(2, "video_generation"), example(1)]
  given = [says(rows[0], 1), says(rows[1], None), None]
  swapped = [says(rows[0].swapped(), 1), None, says(rows[2].swapped(), 2)]
  values = {0: [1.0, 0.0], 1: [None], 2: [1.0]}
  reading = lambda judged: values[0] + values[1] + values[2]
  return answers.tabulate(given, swapped, rules.Rule(reading=reading))


def test_credits_belong_to_the_rows_of_the_table(table):
  assert table.row_A.tolist() == [0, 1, 0, 2] and table.order_A.tolist() == [0, 0, 1, 1]
  np.testing.assert_array_equal(table.credit_A, [1, np.nan, 0, 1])
  assert table.counted_A.tolist() == [True, False, True, True]
  assert table.parsed_A.tolist() == [True, False, True, True]
  assert table.first_A.tolist() == [True, False, False, False]
  assert table.labels == [0, 1, 2]


def test_means_are_over_counted_answers(table):
  assert table.mean(table.counted_A) == pytest.approx(2 / 3)
  assert table.mean(~table.first_A) == 0.5
  assert np.isnan(table.mean(np.zeros(4, bool)))
  (name,) = table.by_family()  # the video's only answer is not counted
  assert name == "image_understanding"


def test_sets_that_count_jointly_are_not_right_by_an_answer_that_is_not_counted(table):
  assert table.joint_accuracy(["a", "a", "b"]) == {"a": 0.0, "b": 1.0}
