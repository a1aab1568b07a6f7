"""Voting and any, by hand and against all subsets."""

import itertools

import numpy as np
import pytest

from cot_rm.benchmarks import rules, voting


def subsets(right, wrong, unparsable, k):
  """(vote, any) by looking at every subset of k."""
  samples = [1] * right + [-1] * wrong + [0] * unparsable
  votes, hits = [], []
  for some in itertools.combinations(samples, k):
    tie = 0.5 if 1 in some else 0.0
    votes.append(tie if sum(some) == 0 else float(sum(some) > 0))
    hits.append(1 in some)
  return np.mean(votes), np.mean(hits)


def test_every_count_against_all_subsets():
  for right, wrong, unparsable in itertools.product(range(5), range(4), range(4)):
    for k in range(1, right + wrong + unparsable + 1):
      vote, hit = subsets(right, wrong, unparsable, k)
      assert voting.vote(right, wrong, unparsable, k) == pytest.approx(vote)
      assert voting.hit(right, wrong, unparsable, k) == pytest.approx(hit)


def test_by_hand():
  assert voting.vote(3, 2, 0, 3) == 7 / 10  # 6 subsets with two right ones, 1 with three
  assert voting.vote(1, 1, 1, 2) == 0.5  # a tie, a right one alone, a wrong one alone
  assert voting.vote(0, 0, 2, 1) == 0.0  # nobody votes
  assert voting.vote(3, 2, 0, 1) == 3 / 5
  assert voting.hit(2, 3, 0, 2) == 1 - 3 / 10


def test_figures_by_hand(example, says):
  pair = [example(1, "image_generation"), example(1, "video_generation")]
  given = [says(pair[0], 1, 1, 2), says(pair[1], 1, 2, None)]
  swapped = [says(pair[0].swapped(), 2, 2, 2), says(pair[1].swapped(), 1, None, None)]
  found = voting.score(given, swapped, rules.Rule(), at=(1, 3))
  assert found["at"] == [1, 3]
  # right of three: 2, 1, 3, 0. Of all three votes: right, tie, right, wrong.
  assert found["vote"] == [0.5, (1 + 0.5 + 1 + 0) / 4]
  assert found["any"] == [0.5, 3 / 4]
  assert found["families"]["image_generation"] == {
    "vote": [round(5 / 6, 6), 1],
    "any": [round(5 / 6, 6), 1],
  }
  assert found["samples"] == 3 and found["n"] == 2
  for (low, high), value in zip(found["vote_intervals"], found["vote"], strict=True):
    assert low < value < high
  assert "vote_plus" not in found


def test_a_set_is_voted_right_as_a_whole(example, says):
  given = [
    says(example(1, id="a"), 1, 2),
    says(example(1, id="a"), 1, 1),
    says(example(1, id="b"), 2, 2),
  ]
  rule = rules.Rule(orders=rules.first, question=lambda e: e.extra["id"])
  found = voting.score(given, [None] * 3, rule, at=(1, 2))
  assert found["vote_plus"] == [0.25, 0.25]  # a: a half times one; b: never


def test_more_votes_than_samples_name_the_knobs(example, says):
  given = [says(example(1), 1, 2)]
  with pytest.raises(ValueError, match="5 votes of 2 samples; `at` .config.eval.vote_at"):
    voting.score(given, [None], rules.Rule(), at=(5,))
  with pytest.raises(ValueError, match=r"votes of \[1, 2\] samples"):
    voting.score([*given, says(example(1), 1)], [None] * 2, rules.Rule(), at=(1,))
