"""The bench of rankings: its questions, and what it says about few comparisons."""

import itertools

import numpy as np
import pytest


def test_the_round_robin_is_its_own_measure_and_the_others_ask_for_less(bench):
  found = bench.measure(bench.simulated(60))
  whole = found["round robin"]
  assert whole["comparisons"] == 56 and whole["same_best"] == whole["of_round_robin"] == 1
  assert [found[name]["comparisons"] for name in ("adaptive", "adaptive, half", "knockout")] == [
    24,
    28,
    14,
  ]
  assert found["adaptive, half"]["of_round_robin"] > found["knockout"]["of_round_robin"]


def test_a_simulated_judge_errs_as_often_as_the_bench_says(bench):
  questions = bench.simulated(300)
  agrees, near = [], []
  for q in questions:
    for (i, j), answer in q.answers.items():
      agrees.append(answer.winner == (i if q.merits[i] > q.merits[j] else j))
      near.append(q.merits[i] - q.merits[j])
  # P(right) of one order is the logistic function of the lead; two orders are a little better.
  single = np.mean(1 / (1 + np.exp(-np.abs(near))))
  assert single < np.mean(agrees) < single + 0.06


def test_each_caption_has_one_right_picture_and_seven_wrong_ones(bench):
  for pictures in itertools.islice(bench.captions(2).values(), 2):
    assert len({medium.source for medium in pictures}) == bench.COUNT


def test_a_judge_that_knows_the_right_picture_has_it_found_by_every_method(bench):
  answers = {
    (i, j): bench.Comparison(i, j, 0.99 if i == 2 else 0.01 if j == 2 else 0.5)
    for i, j in itertools.combinations(range(bench.COUNT), 2)
  }
  found = bench.measure([bench.Question(2, None, answers)] * 5)
  assert all(r["best_found"] == 1 for r in found.values())
  assert found["adaptive"]["share_of_comparisons"] == pytest.approx(24 / 56)


def test_a_judge_that_never_finds_the_best_has_no_share_of_what_it_finds(bench):
  pairs = itertools.combinations(range(bench.COUNT), 2)
  answers = {(i, j): bench.Comparison(i, j, 0.01 if i == 0 else 0.5) for i, j in pairs}
  found = bench.measure([bench.Question(0, None, answers)])
  assert found["adaptive"]["best_found"] == 0 and "of_round_robin" not in found["adaptive"]
