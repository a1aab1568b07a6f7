"""Orders, groups that count whole, and what is said of a wrong mode."""

import pytest

from cot_rm.benchmarks import rules


def test_orders_asked():
  assert rules.both("ab") == [(0, 1), (0, 1)]
  assert rules.first("ab") == [(0,), (0,)]


def test_examples_hang_together_as_the_rule_says(example):
  rows = [example(id="a"), example(id="b"), example(id="a")]
  assert rules.Rule().clusters(rows) == [0, 1, 2]
  assert rules.Rule(cluster=lambda e: e.extra["id"]).clusters(rows) == ["a", "b", "a"]


def test_an_unknown_mode_names_the_known_ones():
  modes = {"both": rules.Rule(), "first": rules.Rule(orders=rules.first)}
  assert rules.get(modes, "first") is modes["first"]
  with pytest.raises(ValueError, match="mode 'frist'; did you mean 'first'. known: both, first"):
    rules.get(modes, "frist")


def test_what_was_asked_stands_in_a_row_with_its_place(example, says):
  one, two = says(example(1), 1), says(example(2), 1)
  places, both, rows = rules.asked([None, one], [two, None])
  assert places == ((1, 0), (0, 1)) and both == (one, two)
  assert rows == [two.example, one.example]
  with pytest.raises(ValueError, match="pair 1 was asked in no order"):
    rules.asked([one, None], [two, None])


def test_a_set_counts_whole_in_each_order():
  # a: both pairs in order 0; b: its one pair in neither, c: in both.
  values = [1, 1, 0, 1, 1, 0, 0, 1]
  places = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (3, 1)]
  assert rules.whole(values, places, ["a", "a", "b", "c"]) == {"a": 0.5, "b": 0.0, "c": 1.0}
  assert rules.whole([1, 0.5], [(0, 0), (1, 0)], ["a", "a"]) == {"a": 0.5}  # order 1 not asked
