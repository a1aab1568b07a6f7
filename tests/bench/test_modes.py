"""What judges without skill score by each mode: the defects that published scripts have."""

import pytest

from cot_rm import benchmarks
from cot_rm.prompts import r1_reward, think


@pytest.fixture
def scored(bench):
  """`(benchmark, mode, name of a judge) -> figures`."""

  def make(benchmark, mode, name):
    grammar = think if benchmark == "genai_bench" else r1_reward
    (judge,) = [judge for judge in bench.judges(grammar) if judge.name == name]
    return bench.figures(benchmark, mode, bench.examples(benchmark, 5), judge, grammar)

  return make


@pytest.mark.parametrize(
  "benchmark",
  ["vl_rewardbench", "mm_rlhf_rewardbench", "multimodal_rewardbench", "genai_bench"],
)
def test_by_default_a_judge_without_skill_is_right_half_the_time(scored, benchmark):
  found = scored(benchmark, "both", "a coin")
  low, high = found["intervals"]["accuracy"]
  assert low < 0.5 < high
  assert scored(benchmark, "both", "always the first")["accuracy"] == 0.5
  assert scored(benchmark, "both", "silence")["accuracy"] == 0
  if "r1_reward" in benchmarks.get(benchmark).MODES:
    assert scored(benchmark, "r1_reward", "always the first")["accuracy"] == 1


def test_the_sizes_are_those_of_the_benchmarks(bench):
  sizes = {"vl_rewardbench": 1250, "mm_rlhf_rewardbench": 170, "multimodal_rewardbench": 4711}
  for benchmark, size in (sizes | {"genai_bench": 1889}).items():
    assert len(bench.examples(benchmark, 1)) == size


def test_both_verdicts_at_once_are_right_for_unified_reward(scored):
  assert scored("vl_rewardbench", "unified_reward", "both are better")["accuracy"] == 1
  assert scored("multimodal_rewardbench", "lmms_eval", "silence")["accuracy"] > 0.4
