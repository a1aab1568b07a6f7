"""The vote by probabilities, by hand and against a loop over all subsets."""

import dataclasses
import itertools

import numpy as np
import pytest

from cot_rm.benchmarks import expected_vote, rules, voting
from cot_rm.schema import Verdict


@pytest.fixture
def judged(example, says):
  """`(gold, (answer, probability)...) -> judgement`."""

  def make(gold, *verdicts):
    made = tuple(Verdict(answer, probability=p) for answer, p in verdicts)
    return dataclasses.replace(says(example(gold), *(v.answer for v in made)), verdicts=made)

  return make


def test_by_hand(judged):
  one = judged(1, (1, 0.9), (2, 0.7), (None, None))  # the right one has 0.9 and 0.3
  assert expected_vote.chance([one], 1) == pytest.approx([1 / 3])
  assert expected_vote.chance([one], 2) == pytest.approx([2 / 3])  # both; the surer; the other
  assert expected_vote.chance([one], 3) == pytest.approx([1])
  tie = judged(2, (1, 0.6), (2, 0.6))
  assert expected_vote.chance([tie], 2) == pytest.approx([0.5])
  assert expected_vote.chance([judged(2, (None, None))], 1) == pytest.approx([0])


def test_it_is_a_loop_over_all_subsets(judged):
  rng = np.random.default_rng(0)

  def drawn(gold):
    answers = rng.choice([1, 2, None], 7, p=[0.4, 0.4, 0.2])
    return judged(gold, *((a, None if a is None else rng.uniform(0.5, 1)) for a in answers))

  rows = [drawn(1 + i % 2) for i in range(20)]
  for k in range(1, 8):
    wanted = []
    for row in rows:
      right = [
        None
        if v.answer is None
        else v.probability
        if v.answer == row.example.gold
        else 1 - v.probability
        for v in row.verdicts
      ]
      means = [
        np.mean(parsed) if (parsed := [p for p in some if p is not None]) else 0.0
        for some in itertools.combinations(right, k)
      ]
      wanted.append(np.mean([mean > 0.5 for mean in means]))
    assert expected_vote.chance(rows, k) == pytest.approx(wanted)


def test_random_subsets_stand_for_too_many(judged, monkeypatch):
  row = judged(1, *((1, 0.8) if i % 3 else (2, 0.9) for i in range(15)))
  exact = expected_vote.chance([row], 7)
  monkeypatch.setattr(expected_vote, "SUBSETS", 4000)
  found = expected_vote.chance([row], 7)
  assert found != exact and found == pytest.approx(exact, abs=0.03)
  assert found == expected_vote.chance([row], 7) != expected_vote.chance([row], 7, seed=1)


def test_certain_verdicts_vote_as_a_majority_does(judged):
  rows = [
    judged(1, *((a, None if a is None else 1.0) for a in some))
    for some in itertools.product((1, 2, None), repeat=4)
  ]
  for k in range(1, 5):
    counts = [[r.verdicts[i].answer for i in range(4)] for r in rows]
    majority = [voting.vote(c.count(1), c.count(2), c.count(None), k) for c in counts]
    assert expected_vote.chance(rows, k) == pytest.approx(majority)


def test_verdicts_without_a_probability_have_none_and_the_figure_is_left_out(judged, says, example):
  assert expected_vote.chance([judged(1, (1, None))], 1) is None
  found = voting.score([says(example(1), 1, 2)], [None], rules.Rule(), at=(1, 2))
  assert "expected_vote" not in found and "expected_vote" not in found["definitions"]
  known = voting.score([judged(1, (1, 0.9), (2, 0.6))], [None], rules.Rule(), at=(1, 2))
  assert known["expected_vote"] == [0.5, 1] and known["vote"] == [0.5, 0.5]
  assert (
    known["definitions"]["expected_vote"]["n"] == 1 and len(known["expected_vote_intervals"]) == 2
  )
