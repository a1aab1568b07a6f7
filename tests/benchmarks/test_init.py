"""The table of benchmarks."""

import numpy as np
import pytest

from cot_rm import benchmarks
from cot_rm.schema import Example

KINDS = {  # an id, a path and a category of each benchmark's own, and the task
  "vl_rewardbench": (("RLHF-V-{}", "mathverse_{}", "wildvision-battle-{}"), "image_understanding"),
  "mm_rlhf_rewardbench": (("{}",), "image_understanding"),
  "multimodal_rewardbench": (("PAIRS-{}", "mathvista-{}"), "image_understanding"),
  "genai_bench": (("{}",), "image_generation"),
  "videogen_rewardbench": (("{}",), "video_generation"),
  "sharegptvideo": (("{}",), "video_understanding"),
  "mmrb2": (("{}",), "image_generation"),
  "pairs": (("{}",), "video_understanding"),
}
BETTER_FIRST = ("vl_rewardbench", "mm_rlhf_rewardbench")  # their examples are read like this


def pairs_of(name, count):
  """Pairs as a benchmark has them, a fifth of them called equal where it has such."""
  ids, task = KINDS[name]
  ties = benchmarks.BENCHMARKS[name].MODES["both"].tau is not None
  out = []
  for i in range(count):
    id = ids[i % len(ids)].format(i)
    gold = None if ties and i % 5 == 0 else 1 if name in BETTER_FIRST else 1 + i // 2 % 2
    extra = {"id": id, "path": f"mcq/{i}.png", "Category": "safety"}
    extra |= {"task": "edit", "prompt": id}
    extra |= {} if gold else {"tie": True}
    out.append(Example(id, name, task, f"question {i}", (), (), gold, extra=extra))
  return out


def judged_by(judge, name, mode, says, count=400):
  """The figures of `judge`, (example) -> verdict, in the orders of a mode."""
  module = benchmarks.get(name)
  rows = pairs_of(name, count)
  given, swapped = [], []
  for row, orders in zip(rows, module.MODES[mode].asked(rows), strict=True):
    other = row.swapped()
    given.append(says(row, judge(row)) if 0 in orders else None)
    swapped.append(says(other, judge(other)) if 1 in orders else None)
  return module.score(given, swapped, mode=mode)


@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_a_judge_of_random_verdicts_has_half_within_its_interval(name, says):
  draw = np.random.default_rng(0)
  found = judged_by(lambda e: int(draw.integers(1, 3)), name, "both", says)
  low, high = found["intervals"]["accuracy"]
  assert low <= 0.5 <= high and high - low < 0.12
  assert found["n"] == (320 if "tau" in found else 400)


@pytest.mark.parametrize(
  "name", [name for name, module in benchmarks.BENCHMARKS.items() if "r1_reward" in module.MODES]
)
def test_a_judge_that_always_says_the_first_has_all_by_r1_reward_and_half_in_both_orders(
  name, says
):
  assert judged_by(lambda e: 1, name, "r1_reward", says)["accuracy"] == 1
  found = judged_by(lambda e: 1, name, "both", says)
  assert found["accuracy"] == 0.5 and found["order_consistency"] == 0


def test_every_benchmark_asks_both_orders_unless_told_otherwise():
  for module in benchmarks.BENCHMARKS.values():
    assert module.MODES["both"].orders([None]) == [(0, 1)]


def test_an_unknown_benchmark_names_the_known_ones():
  assert benchmarks.get("pairs") is benchmarks.BENCHMARKS["pairs"]
  with pytest.raises(ValueError, match="'vl_rewardbnch'; did you mean 'vl_rewardbench'"):
    benchmarks.get("vl_rewardbnch")
