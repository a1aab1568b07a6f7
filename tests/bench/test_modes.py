"""What judges without skill score by each mode: the defects that published scripts have."""

import modes
import pytest

from cot_rm import benchmarks
from cot_rm.prompts import r1_reward, think


def accuracy(benchmark, mode, name, parts=5):
  grammar = think if benchmark == "genai_bench" else r1_reward
  (judge,) = [judge for judge in modes.judges(grammar) if judge.name == name]
  pairs = modes.examples(benchmark, parts)
  return modes.figures(benchmark, mode, pairs, judge, grammar)


@pytest.mark.parametrize(
  "benchmark",
  ["vl_rewardbench", "mm_rlhf_rewardbench", "multimodal_rewardbench", "genai_bench"],
)
def test_by_default_a_judge_without_skill_is_right_half_the_time(benchmark):
  found = accuracy(benchmark, "both", "a coin")
  low, high = found["intervals"]["accuracy"]
  assert low < 0.5 < high
  assert accuracy(benchmark, "both", "always the first")["accuracy"] == 0.5
  assert accuracy(benchmark, "both", "silence")["accuracy"] == 0
  if "r1_reward" in benchmarks.get(benchmark).MODES:
    assert accuracy(benchmark, "r1_reward", "always the first")["accuracy"] == 1


def test_the_sizes_are_those_of_the_benchmarks():
  sizes = {"vl_rewardbench": 1250, "mm_rlhf_rewardbench": 170, "multimodal_rewardbench": 4711}
  for benchmark, size in (sizes | {"genai_bench": 1889}).items():
    assert len(modes.examples(benchmark, 1)) == size


def test_both_verdicts_at_once_are_right_for_unified_reward():
  assert accuracy("vl_rewardbench", "unified_reward", "both are better")["accuracy"] == 1
  assert accuracy("multimodal_rewardbench", "lmms_eval", "silence")["accuracy"] > 0.4
