"""Labels and rankings to pairs."""

import pytest

from cot_rm.data.datasets import compared, pair
from cot_rm.data.datasets.pair import LeftOut


def test_the_higher_score_is_preferred():
  assert [compared.by_score(*two) for two in ((1, 0), (0, 1))] == [1, 2]
  assert compared.by_score(0.5, 0.5) == LeftOut("tie")
  assert compared.by_score(None, 1) == compared.by_score(float("nan"), 1) == LeftOut("no label")


@pytest.mark.parametrize("ties, found", [("drop", 0), ("keep", 1)])
def test_ties_are_dropped_or_kept_but_nothing_else_is_kept(make_row, ties, found):
  row = make_row({}, ties=ties)
  make = lambda gold: list(compared.labelled(row, "image_understanding", "?", ("a", "b"), gold))
  (one,) = make(LeftOut("tie"))
  assert isinstance(one, pair.Pair) == bool(found) and getattr(one, "gold", None) is None
  assert getattr(one, "tie", None) is (True if found else None)
  assert make(LeftOut("no label")) == [LeftOut("no label")]
  assert make(2)[0].gold == 2


@pytest.mark.parametrize("ranks", [[1, 2, 3], [2, 1, 3], [3, 3, 1], [1, 1], [1, 2, 2]])
def test_best_and_worst_are_of_the_extreme_ranks(make_row, ranks):
  row = make_row({}, pairs="best_worst")
  names = [f"n{i}" for i in range(len(ranks))]
  preferred = lambda i, j: compared.by_score(-ranks[i], -ranks[j])
  (one,) = compared.ranked(row, "image_understanding", "?", names, preferred)
  if min(ranks) == max(ranks):
    assert one == LeftOut("tie")
  else:
    assert one.candidates[one.gold - 1] == names[ranks.index(min(ranks))]
    assert one.candidates[2 - one.gold] == names[ranks.index(max(ranks))]
    assert one.shuffled
