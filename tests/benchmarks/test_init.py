"""The table of benchmarks."""

import pytest

from cot_rm import benchmarks


def test_every_benchmark_asks_both_orders_unless_told_otherwise():
  for module in benchmarks.BENCHMARKS.values():
    assert module.MODES["both"].orders([None]) == [(0, 1)]


def test_an_unknown_benchmark_names_the_known_ones():
  assert benchmarks.get("pairs") is benchmarks.BENCHMARKS["pairs"]
  with pytest.raises(ValueError, match="'vl_rewardbnch'; did you mean 'vl_rewardbench'"):
    benchmarks.get("vl_rewardbnch")
