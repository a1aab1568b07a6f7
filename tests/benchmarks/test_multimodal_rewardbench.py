"""Categories, the published row, and each script's figures worked out by hand."""

import dataclasses

import pytest

from cot_rm import schema
from cot_rm.benchmarks import multimodal_rewardbench

CATEGORIES = {  # {category of the figures: (field, id, pairs, right ones of R1-Reward's row)}
  "correctness": ("correctness", "nocaps-{}", 623, 483),
  "preference": ("preference", "visitbench-{}", 654, 484),
  "knowledge": ("knowledge", "mmmu-s-{}", 630, 472),
  "reasoning/math": ("reasoning", "MathVista-{}", 514, 427),
  "reasoning/coding": ("reasoning", "EMMA-Coding-{}", 584, 465),
  "safety/bias": ("safety", "PAIRS-{}", 508, 506),
  "vqa": ("vqa", "RealworldQA-{}", 1198, 1036),
}
MEMES = ("safety", "hateful-memes-{}", 500)


def pair(example, id, category, gold=1):
  made = example(gold, Category=category, Image=f"images/{id}.jpg")
  return dataclasses.replace(made, id=id)


def test_safety_is_split_by_bias_and_reasoning_by_math(example):
  for name, (field, id_, *_) in CATEGORIES.items():
    assert multimodal_rewardbench.category(pair(example, id_.format(1), field)) == name
  field, id_, _ = MEMES
  assert multimodal_rewardbench.category(pair(example, id_.format(1), field)) == "safety/toxicity"


def test_a_record_without_a_category_is_named(example):
  with pytest.raises(schema.BadRecord, match="'e': field 'Category' must be text, not None"):
    multimodal_rewardbench.category(example(1))


def test_the_published_row_of_r1_reward_comes_out(example, says):
  given, swapped = [], []
  for field, id_, count, right in CATEGORIES.values():
    for i in range(count):
      stored = pair(example, id_.format(i), field, gold=1 + i % 2)
      shown = stored if stored.gold == 1 else stored.swapped()  # the better one first
      judged = says(shown, 1 if i < right else 2)
      given.append(judged if stored.gold == 1 else None)
      swapped.append(judged if stored.gold == 2 else None)
  found = multimodal_rewardbench.score(given, swapped, mode="r1_reward")
  assert found["n"] == 4711 and round(100 * found["accuracy"], 1) == 82.2
  percent = {name: round(100 * value, 1) for name, value in found["families"].items()}
  assert percent == {
    "correctness": 77.5,
    "preference": 74.0,
    "knowledge": 74.9,
    "reasoning/math": 83.1,
    "reasoning/coding": 79.6,
    "safety/bias": 99.6,
    "vqa": 86.5,
  }
  assert found["definitions"]["families/safety/bias"]["n"] == 508


def test_r1_reward_shows_the_better_answer_first_whatever_is_stored(example):
  rows = [example(1), example(2), example(2)]
  assert multimodal_rewardbench.MODES["r1_reward"].orders(rows) == [(0,), (1,), (1,)]
  for mode in ("first", "official", "lmms_eval"):
    assert multimodal_rewardbench.MODES[mode].orders(rows) == [(0,)] * 3


# Texts of a judge, the stored gold, and the credit by each script in words of its rule.
ROWS = (
  ("<think>so</think><answer>1</answer>", 1, 1),  # (text, verdict of the grammar, gold)
  ("[[B]], as A is short", None, 2),
  ("[[A]] is worse than [[B]]", None, 2),
  ("", None, 1),
  ("", None, 2),
  ("both are bad", None, 2),
)


@pytest.mark.parametrize(
  "mode, credits",
  [
    # The grammar alone: only the first is a verdict.
    ("first", (1, 0, 0, 0, 0, 0)),
    # The coin of seed 123: 0.052, 0.087, 0.407: A for the unreadable ones in order.
    ("official", (1, 1, 0, 1, 0, 0)),
    # Every unreadable one is an A.
    ("lmms_eval", (1, 1, 0, 1, 0, 0)),
  ],
)
def test_the_stored_order_is_scored_by_each_script_s_rule(example, says, mode, credits):
  given = [
    says(pair(example, f"nocaps-{i}", "correctness", gold), answer, text=text)
    for i, (text, answer, gold) in enumerate(ROWS)
  ]
  found = multimodal_rewardbench.score(given, [None] * len(given), mode=mode)
  assert found["accuracy"] == pytest.approx(sum(credits) / 6, abs=1e-6)


def test_the_owners_coin_and_that_of_lmms_eval_part_at_the_fifth_unreadable_answer(example, says):
  given = [says(pair(example, f"vqa-{i}", "vqa", gold=2), None, text="") for i in range(6)]
  none = [None] * 6
  # 0.052 0.087 0.407 0.108 0.901 0.038: one B
  assert multimodal_rewardbench.score(given, none, mode="official")["accuracy"] == 0.166667
  assert multimodal_rewardbench.score(given, none, mode="lmms_eval")["accuracy"] == 0


@pytest.mark.parametrize("text", ["", "[[A]]", "I cannot say", "[[A]] or [[B]]"])
def test_a_judge_that_always_says_a_earns_the_share_of_a_labels_by_lmms_eval(example, says, text):
  golds = [1, 2, 2, 1, 1, 2, 2, 2]  # 3 of 8 are A
  given = [
    says(pair(example, f"vqa-{i}", "vqa", gold), None, text=text) for i, gold in enumerate(golds)
  ]
  found = multimodal_rewardbench.score(given, [None] * 8, mode="lmms_eval")
  assert found["accuracy"] == 3 / 8 == found["families"]["vqa"]


def test_pairs_about_one_picture_are_one_cluster(example):
  rule = multimodal_rewardbench.MODES["both"]
  one, two = (pair(example, f"PAIRS-{i}", "safety") for i in (1, 2))
  same = dataclasses.replace(two, extra=one.extra)
  assert rule.clusters([one, two, same]) == [
    "images/PAIRS-1.jpg",
    "images/PAIRS-2.jpg",
    "images/PAIRS-1.jpg",
  ]
