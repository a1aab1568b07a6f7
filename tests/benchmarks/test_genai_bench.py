"""GenAI-Bench by both sets of UnifiedReward's scripts, worked out by hand."""

import dataclasses

import pytest

from cot_rm.benchmarks import genai_bench

IMAGE, VIDEO = "image_generation", "video_generation"
ROWS = (  # (task, what people say, the texts as given and exchanged)
  (IMAGE, 1, "Image 1 is better", "Image 2 is better"),
  (IMAGE, 2, "Image 1 is better, or rather Image 2 is better", "Image 2 is better"),
  (IMAGE, None, "Both images are equally good", "Both images are equally good"),
  (VIDEO, 2, "Video 1 is better, or rather Video 2 is better", "Video 1 is better"),
  (VIDEO, 1, "Video 1 is better", "Video 1 is better"),
  (VIDEO, None, "Both videos are equally good", "no"),
  (VIDEO, None, "Video 1 is better", "Video 1 is better"),
)


@pytest.fixture
def table(example, says):
  """`(mode) -> (judgements, swapped)` of ROWS in the orders of a mode."""

  def make(mode):
    rows = [example(gold, task, tie=gold is None) for task, gold, *_ in ROWS]
    rows = [dataclasses.replace(row, question=f"prompt {i}") for i, row in enumerate(rows)]
    given, swapped = [], []
    asked = genai_bench.MODES[mode].asked(rows)
    for row, orders, (*_, one, other) in zip(rows, asked, ROWS, strict=True):
      if orders:
        given.append(says(row, None, text=one) if 0 in orders else None)
        swapped.append(says(row.swapped(), None, text=other) if 1 in orders else None)
    return given, swapped

  return make


def test_the_qwen_scripts_count_ties_in_tau_s_denominator_alone(table):
  """Pictures: right, right; right by the substring, wrong (its order asks for Image 1).

  Videos: wrong, as the first label is looked for first, right; right, wrong.
  """
  found = genai_bench.score(*table("unified_reward"), mode="unified_reward")
  assert found["diff"] == (2 + 1 + 1 + 1) / 8
  assert found["tau"] == pytest.approx((1 + 0.5 + 0.5 + 0.5) / 7, abs=1e-6)
  assert found["families"] == {IMAGE: 3 / 4, VIDEO: 2 / 4}
  assert found["families_tau"] == {IMAGE: 0.5, VIDEO: 0.25}
  # As the scripts compute them: correct / all and correct / (all - ties), per task.
  assert found["families_tau"][IMAGE] == pytest.approx(found["families"][IMAGE] * 2 / 3)
  assert found["families_tau"][VIDEO] == pytest.approx(found["families"][VIDEO] * 2 / 4)


def test_the_vllm_scripts_leave_ties_out_and_swap_pictures_alone(table):
  given, swapped = table("unified_reward_vllm")
  assert [one is not None for one in swapped] == [True, True, False, False]
  found = genai_bench.score(given, swapped, mode="unified_reward_vllm")
  # Pictures as above; videos: both labels stand in the first text, so it is right; right.
  assert found["families"] == {IMAGE: 3 / 4, VIDEO: 1} and found["n"] == 4
  assert found["diff"] == pytest.approx((3 + 2) / 6, abs=1e-6) and "tau" not in found


def test_the_llava_scripts_know_ties_and_swap_videos_alone(table):
  """Pictures: "Image 1 is better" is not the label of theirs, so nothing but the tie is right.

  Videos as in the Qwen scripts; the ties: right, right; wrong, wrong.
  """
  found = genai_bench.score(*table("unified_reward_llava"), mode="unified_reward_llava")
  assert found["families"] == {IMAGE: 0, VIDEO: 2 / 4}
  assert found["families_tau"] == {IMAGE: round(1 / 3, 6), VIDEO: 2 / 4}
  assert found["tau"] == round((1 + 2) / 7, 6) and found["n"] == 4


def test_ties_are_asked_where_tau_counts_them(example):
  rows = [example(None, VIDEO, tie=True), example(1, VIDEO), example(2, IMAGE)]
  asked = {mode: rule.asked(rows) for mode, rule in genai_bench.MODES.items()}
  assert asked == {
    "both": [(0, 1)] * 3,
    "first": [(0,)] * 3,
    "unified_reward": [(0, 1)] * 3,
    "unified_reward_vllm": [(), (0,), (0, 1)],
    "unified_reward_llava": [(0, 1), (0, 1), (0,)],
  }


def test_pairs_of_one_prompt_are_one_cluster(example):
  rows = [dataclasses.replace(example(1, IMAGE), question=q) for q in "aba"]
  assert all(rule.clusters(rows) == ["a", "b", "a"] for rule in genai_bench.MODES.values())
