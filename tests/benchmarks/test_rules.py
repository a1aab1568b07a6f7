"""Orders, clusters, and questions whose pairs count jointly."""

import dataclasses

import pytest

from cot_rm.benchmarks import rules


def test_orders_asked():
  assert rules.both("ab") == [(0, 1), (0, 1)]
  assert rules.first("ab") == [(0,), (0,)]


def test_pairs_called_equal_are_asked_only_where_the_rule_has_a_credit_for_them(example):
  rows = [example(1), example(None, tie=True)]
  assert rules.Rule().asked(rows) == [(0, 1), ()]
  assert rules.Rule(tau="agreed", orders=rules.first).asked(rows) == [(0,), (0,)]


def test_examples_form_the_clusters_of_the_rule(example):
  rows = [example(id="a"), example(id="b"), example(id="a")]
  assert rules.Rule().clusters(rows) == [0, 1, 2]
  assert rules.Rule(cluster=lambda e: e.extra["id"]).clusters(rows) == ["a", "b", "a"]


def test_pairs_whose_records_had_one_id_are_a_cluster(example):
  ids = ["0", "a", "2", "a#2", "b#1", "a#3"]
  rows = [dataclasses.replace(example(), id=id) for id in ids]
  assert rules.Rule().clusters(rows) == [0, 1, 2, 1, 4, 1]


def test_numbers_that_ids_of_the_data_have_are_no_repetitions(example):
  rows = [dataclasses.replace(example(), id=f"pair#{number}") for number in range(4)]
  assert rules.Rule().clusters(rows) == [0, 1, 2, 3]


def test_the_judgements_of_both_orders_stand_in_one_row_with_their_cells(example, says):
  one, two = says(example(1), 1), says(example(2), 1)
  cells, judged, rows = rules.flatten([None, one], [two, None])
  assert cells == ((1, 0), (0, 1)) and judged == (one, two)
  assert rows == [two.example, one.example]
  with pytest.raises(ValueError, match="pair 1 .* has a judgement in neither order"):
    rules.flatten([one, None], [two, None])


def test_a_question_is_right_in_an_order_if_all_its_pairs_are():
  # a: both pairs in order 0; b: its one pair in neither, c: in both.
  values = [1, 1, 0, 1, 1, 0, 0, 1]
  cells = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1), (3, 1)]
  assert rules.joint_accuracy(values, cells, ["a", "a", "b", "c"]) == {"a": 0.5, "b": 0.0, "c": 1.0}
  assert rules.joint_accuracy([1, 0.5], [(0, 0), (1, 0)], ["a", "a"]) == {
    "a": 0.5
  }  # order 1 not asked
