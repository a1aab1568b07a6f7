"""VideoGen-RewardBench by both sets of UnifiedReward's scripts, worked out by hand."""

import dataclasses
import functools

import pytest

from cot_rm.benchmarks import baselines, videogen_rewardbench

ROWS = (  # (what people say, text, right by the first label, by the substring)
  (1, "Video 1 is better", 1, 1),
  (2, "Video 1 is better, or rather Video 2 is better", 0, 1),
  (2, "Both videos are equally good", 0, 0),
  (2, "<think>Video 1 is sharp</think><answer>Video 2 is better</answer>", 1, 1),
  (None, "Both videos are equally good", 1, None),
  (None, "", 1, None),
  (None, "Video 2 is better", 0, None),
)


@pytest.fixture
def judged(example, says):
  made = [example(gold, "video_generation", tie=gold is None) for gold, *_ in ROWS]
  made = [dataclasses.replace(e, question=f"prompt {i}") for i, e in enumerate(made)]
  return [says(e, None, text=text) for e, (_, text, *_) in zip(made, ROWS, strict=True)]


def test_the_qwen_scripts_predict_a_tie_where_neither_label_stands(judged):
  found = videogen_rewardbench.score(judged, [None] * 7, mode="unified_reward")
  assert found["tau"] == pytest.approx(4 / 7, abs=1e-6) and found["diff"] == 2 / 4
  assert found["n"] == 4 and found["definitions"]["tau"]["n"] == 7


def test_the_vllm_scripts_leave_ties_out(judged):
  rule = videogen_rewardbench.MODES["unified_reward_vllm"]
  assert rule.asked([j.example for j in judged]) == [(0,)] * 4 + [()] * 3
  found = videogen_rewardbench.score(judged[:4], [None] * 4, mode="unified_reward_vllm")
  assert found["diff"] == 3 / 4 and "tau" not in found


def test_the_llava_scripts_look_for_the_text_in_the_label(judged):
  # Right; says more than a label: a tie, three times; right; an empty text is a verdict for the
  # first; "Video 2 is better" is a part of a label.
  found = videogen_rewardbench.score(judged, [None] * 7, mode="unified_reward_llava")
  assert found["diff"] == 1 / 4 and found["tau"] == round(2 / 7, 6)


def test_a_verdict_without_a_text_counts_as_it_is(example):
  """Of a judge without a model: its text is no label that the script could look for."""
  rows = [dataclasses.replace(example(1, "video_generation"), id=str(i)) for i in range(40)]
  rule = videogen_rewardbench.MODES["unified_reward_llava"]
  score = functools.partial(videogen_rewardbench.score, mode="unified_reward_llava")
  found = baselines.figures(rows, rule, score)
  assert found["always the first"]["diff"] == 1 and 0.2 < found["a coin"]["diff"] < 0.8


def test_the_published_order_is_video_a_first(example):
  rows = [example(gold, "video_generation", tie=gold is None) for gold in (1, 2, None)]
  for mode in ("first", "unified_reward", "unified_reward_llava"):
    assert videogen_rewardbench.MODES[mode].asked(rows) == [(0,)] * 3
  assert videogen_rewardbench.MODES["both"].asked(rows) == [(0, 1)] * 3


def test_pairs_of_one_prompt_are_one_cluster(example):
  rows = [dataclasses.replace(example(1, "video_generation"), question=q) for q in "aba"]
  rules = videogen_rewardbench.MODES.values()
  assert all(rule.clusters(rows) == ["a", "b", "a"] for rule in rules)
