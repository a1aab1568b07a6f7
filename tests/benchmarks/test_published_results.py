"""Published results: whole rows, in percent, with a source; those of R1-Reward add up."""

import json

import pytest

from cot_rm import benchmarks
from cot_rm.benchmarks import published_results

NAMES = [*json.loads(published_results.PATH.read_text())["benchmarks"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_value_for_each_column_and_a_source(name):
  found = published_results.of(name)
  for row in found.rows:
    assert len(row.values) == len(found.columns), row.model
    assert all(v is None or 0 < v < 100 for v in row.values) and row.source
  assert len({row.model for row in found.rows}) == len(found.rows)


def test_published_results_are_of_benchmarks_that_can_be_scored():
  assert {*NAMES} <= {*benchmarks.BENCHMARKS}


def test_a_set_of_one_s_own_has_none():
  assert published_results.of("pairs") is None


def row_of(model):
  (row,) = [r for r in published_results.of("vl_rewardbench").rows if r.model == model]
  return row


def overall(row, *sizes):
  """The overall accuracy that the groups' accuracies give, for groups of these sizes."""
  return sum(value * size for value, size in zip(row.values, sizes, strict=False)) / 1250


def test_r1_reward_s_row_is_over_its_own_groups():
  """484, 448 and 318 pairs, of which 309, 384 and 206 are right."""
  row = row_of("R1-Reward 7B")
  counts = [
    round(value * size / 100) for value, size in zip(row.values, (484, 448, 318), strict=False)
  ]
  assert counts == [309, 384, 206] and row.values[3] == round(100 * 899 / 1250, 2)
  assert any("not comparable" in caveat for caveat in row.caveats)
  voted = row_of("R1-Reward 7B, voting@15")
  assert (
    overall(voted, 484, 448, 318) == pytest.approx(76.35, abs=0.01) and voted.values[3] == 76.46
  )
  assert any("76.35" in caveat for caveat in voted.caveats)


def test_unified_reward_s_overall_accuracy_follows_from_its_own_groups_alone():
  row = row_of("UnifiedReward-Think 7B")
  assert overall(row, 631, 301, 318) == pytest.approx(row.values[3], abs=0.15)
  assert abs(overall(row, 183, 749, 318) - row.values[3]) > 1
