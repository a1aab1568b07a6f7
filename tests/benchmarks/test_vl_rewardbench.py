"""The groups by id, the figures as published, and the records of its owners."""

import collections
import dataclasses
import io
import json
import random

import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest

from cot_rm import schema
from cot_rm.benchmarks import vl_rewardbench
from cot_rm.prompts import r1_reward

IDS = [  # as many of each kind as the 1,250 ids have
  name.format(i)
  for name, count in {
    "hallucination_pair-{}": 448,
    "RLHF-V-{}": 68,
    "RLAIF-V-{}": 233,
    "wildvision-battle-{}": 173,
    "jailbreak-{}": 7,
    "LRVInstruction-00000000{}": 1,
    "politics-{}": 1,
    "svit-complex_reasoning-{}": 1,
    "mathverse_{}": 200,
    "mmmu_pro_test_Marketing_{}": 118,
  }.items()
  for i in range(count)
]


def picture():
  out = io.BytesIO()
  PIL.Image.new("RGB", (8, 8), "red").save(out, "JPEG")
  return out.getvalue()


@pytest.fixture
def root(tmp_path, fixtures):
  """The layout of R1-Reward's copy, with pictures of our own."""
  text = (fixtures / "vl_rewardbench.jsonl").read_text()
  (tmp_path / "data.jsonl").write_text(text)
  for line in text.splitlines():
    path = tmp_path / json.loads(line)["image"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture())
  return tmp_path


@pytest.mark.parametrize(
  "group, general, hallucination, reasoning",
  [
    (vl_rewardbench.official, 183, 749, 318),
    (vl_rewardbench.r1_reward, 484, 448, 318),
    (vl_rewardbench.unified_reward, 631, 301, 318),
  ],
)
def test_the_sizes_of_the_groups(group, general, hallucination, reasoning):
  sizes = collections.Counter(map(group, IDS))
  assert sizes == {"general": general, "hallucination": hallucination, "reasoning": reasoning}


def test_the_groups_of_real_ids(fixtures):
  lines = (fixtures / "vl_rewardbench.jsonl").read_text().splitlines()
  ids = [json.loads(line)["id"] for line in lines]
  for name, due in (
    ("hallucination_pair-13434", ("hallucination", "hallucination", "general")),
    ("RLAIF-V-61727", ("hallucination", "general", "hallucination")),
    ("RLHF-V-414", ("hallucination", "general", "hallucination")),
    ("mathverse_3794", ("reasoning",) * 3),
    ("mmmu_pro_validation_Public_Health_8", ("reasoning",) * 3),
    ("svit-complex_reasoning-876", ("general",) * 3),
    ("wildvision-battle-254", ("general",) * 3),
  ):
    assert name in ids
    groups = vl_rewardbench.official, vl_rewardbench.r1_reward, vl_rewardbench.unified_reward
    assert tuple(group(name) for group in groups) == due
  sizes = collections.Counter(map(vl_rewardbench.official, ids))
  assert sizes == {"hallucination": 24, "reasoning": 16, "general": 10}


def test_the_published_row_of_r1_reward_comes_out(example, says):
  left = {"general": 309, "hallucination": 384, "reasoning": 206}
  given = []
  for row, name in enumerate(IDS):
    group = vl_rewardbench.r1_reward(name)
    left[group] -= 1
    given.append(says(example(1, id=name, row=row), 1 if left[group] >= 0 else 2))
  found = vl_rewardbench.score(given, [None] * len(given), mode="r1_reward")
  percent = lambda value: round(100 * value, 2)
  assert percent(found["accuracy"]) == 71.92  # 899 of 1,250
  assert found["accuracy_macro"] == pytest.approx(0.7144, abs=1e-4)  # theirs: of rounded columns
  families = {name: percent(value) for name, value in found["families"].items()}
  assert families == {"general": 63.84, "hallucination": 85.71, "reasoning": 64.78}
  sizes = {name: what["n"] for name, what in found["definitions"].items()}
  wanted = {
    "accuracy": 1250,
    "accuracy_macro": 3,
    "families/general": 484,
    "families/hallucination": 448,
    "families/reasoning": 318,
  }
  assert sizes | wanted == sizes
  assert "R1-Reward's groups" in found["definitions"]["families/general"]["what"]
  official = vl_rewardbench.score(given, [None] * len(given), mode="first")
  assert official["accuracy"] == found["accuracy"]  # groups change no overall figure
  assert official["definitions"]["families/hallucination"]["n"] == 749


def test_a_judge_that_always_takes_the_first_is_right_half_the_time(example, says):
  rows = [example(1, id=name) for name in IDS[::50]]
  given = [says(e, 1) for e in rows]
  found = vl_rewardbench.score(given, [says(e.swapped(), 1) for e in rows])
  assert found["accuracy"] == 0.5 and found["order_consistency"] == 0
  assert vl_rewardbench.score(given, [None] * len(rows), mode="r1_reward")["accuracy"] == 1


def test_the_order_of_unified_reward_is_its_script_s_for_every_row(example):
  """Which of the two published responses is shown first, and which answer is right, in 1,250 rows.

  A draw below a half shows the published order, seed 0: .844 .758 .421 .259 .511 .405 ...
  """
  ranked = [(1, 0) if row in (3, 4, 700, 701, 1249) else (0, 1) for row in range(len(IDS))]
  rows = []
  for name, ranking in zip(IDS, ranked, strict=True):
    published = ("response 0", "response 1")
    better_first = published if ranking == (0, 1) else published[::-1]
    made = example(1, id=name, better=1 if ranking == (0, 1) else 2)
    rows.append(dataclasses.replace(made, responses=better_first))
  rng = random.Random(0)
  due = []
  for ranking in ranked:
    keeps = rng.random() < 0.5
    first = 0 if keeps else 1
    due.append((f"response {first}", 1 if ranking[first] == 0 else 2))
  assert [first for first, _ in due[:6]] == [f"response {i}" for i in (1, 1, 0, 0, 1, 0)]
  found = []
  for row, orders in zip(rows, vl_rewardbench.MODES["unified_reward"].orders(rows), strict=True):
    asked = [row, row.swapped()][orders[0]]
    found.append((asked.responses[0], asked.gold))
    assert len(orders) == 1
  assert found == due


def test_a_row_that_is_left_out_changes_the_coin_of_no_other(example):
  rows = [example(1, id=f"mmmu_{row}", row=row) for row in range(100)]
  coin = vl_rewardbench.MODES["unified_reward"].orders
  kept = [row for row in rows if row.extra["row"] not in (0, 41, 42)]
  assert coin(kept) == [coin(rows)[row.extra["row"]] for row in kept]


TEXTS = (  # of row 0, 1, 2, 3, 4 and so on, and what R1-Reward's grammar reads in them
  ("<think>1 sees more</think><answer>1</answer>", 1),
  ("**Overall Judgment**:\nAnswer 2 is better.", None),
  ("Answer 1 is better at first sight, but Answer 2 is better.", None),
  ("", None),
  ("<think>Image 1</think><answer>the first</answer>", None),
)


def right(mode, row, gold):
  """By hand: the credit of the invented text of a row, by the rules of a mode's script."""
  kind = row % 5
  if mode == "official":  # the parser of the grammar; what it does not read is wrong
    return float(kind == 0 and gold == 1)
  if mode == "r1_reward":  # gold is always 1: the tag says 1; else the last digit, 2, or a 2
    return float(kind == 0)
  if mode == "unified_reward":  # the words of the right verdict, anywhere; the tag is no such text
    return float((kind == 0 and gold == 1) or (kind == 1 and gold == 2) or kind == 2)
  # lmms_eval: one sentence, else the verdict, else a coin
  return float(gold == {0: 1, 1: 2}[kind]) if kind < 2 else 0.5


@pytest.mark.parametrize(
  "mode, overall, groups",
  [
    ("official", 125 / 1250, vl_rewardbench.official),
    ("r1_reward", 250 / 1250, vl_rewardbench.r1_reward),
    ("unified_reward", (115 + 123 + 250) / 1250, vl_rewardbench.unified_reward),
    ("lmms_eval", (125 + 125 + 750 / 2) / 1250, vl_rewardbench.official),
  ],
)
def test_invented_verdicts_of_all_1250_pairs_score_as_each_script_scores_them(
  example, says, mode, overall, groups
):
  """Texts repeat every 5 rows; the lengths of the responses are odd in every second row.

  So each text is 125 times in the published order and 125 times in the other one, where the parity
  of the lengths decides. UnifiedReward's seed keeps 115 of the 250 rows of the first text, and
  exchanges 123 of the second.
  """
  draw = random.Random(0)
  rows, given, swapped, credits = [], [], [], []
  for row, name in enumerate(IDS):
    one = dataclasses.replace(example(1, id=name), responses=("a" * (row % 2), ""))
    rows.append(one)
  for row, (one, [order]) in enumerate(
    zip(rows, vl_rewardbench.MODES[mode].orders(rows), strict=True)
  ):
    text, choice = TEXTS[row % 5]
    shown = one.swapped() if order else one
    keeps = draw.random() < 0.5
    gold_by_hand = {
      "official": 1 + row % 2,
      "lmms_eval": 1 + row % 2,
      "r1_reward": 1,
      "unified_reward": 1 if keeps else 2,
    }[mode]
    assert shown.gold == gold_by_hand
    judged = says(shown, choice, text=text)
    given.append(None if order else judged)
    swapped.append(judged if order else None)
    credits.append(right(mode, row, gold_by_hand))
  found = vl_rewardbench.score(given, swapped, mode=mode)
  assert found["accuracy"] == pytest.approx(overall, abs=1e-6)
  assert found["accuracy"] == pytest.approx(sum(credits) / 1250, abs=1e-6)
  of_group = collections.defaultdict(list)
  for name, credit in zip(IDS, credits, strict=True):
    of_group[groups(name)].append(credit)
  for name, values in of_group.items():
    assert found["families"][name] == pytest.approx(np.mean(values), abs=1e-6)
  macro = np.mean([np.mean(values) for values in of_group.values()])
  assert found["accuracy_macro"] == pytest.approx(macro, abs=1e-6)


def test_the_macro_accuracy_is_the_mean_of_the_groups_before_they_are_rounded(example, says):
  rows = [example(1, id=name) for name in IDS]
  given = [says(row, 1 if number % 3 else 2) for number, row in enumerate(rows)]
  found = vl_rewardbench.score(given, [None] * len(rows), mode="first")
  right = collections.Counter(vl_rewardbench.official(n) for i, n in enumerate(IDS) if i % 3)
  sizes = {"general": 183, "hallucination": 749, "reasoning": 318}
  assert found["accuracy_macro"] == round(sum(right[g] / n for g, n in sizes.items()) / 3, 6)
  assert found["accuracy_macro"] != round(float(np.mean([*found["families"].values()])), 6)


def test_records_with_chosen_and_rejected_are_read_as_they_are(root):
  rows = vl_rewardbench.examples(root)
  clock = rows[32]
  assert clock.id == "32:RLHF-V-414" and clock.extra == {"id": "RLHF-V-414", "row": 32}
  assert clock.question == "What type of clock is on the wall?" and clock.gold == 1
  assert clock.task == "image_understanding" and len(clock.responses[1]) == 26
  assert clock.media[0].source == str(root / "vl_reward/img/image_1007.jpg")
  (message,) = r1_reward.render(clock)
  assert [part["type"] for part in message["content"]] == ["image", "text"]


def test_all_real_records_are_read_and_become_prompts(root):
  rows = vl_rewardbench.examples(root)
  records = [json.loads(line) for line in (root / "data.jsonl").read_text().splitlines()]
  assert len(rows) == len(records) == 50
  for row, record in zip(rows, records, strict=True):
    assert (row.question, *row.responses) == tuple(
      record[name] for name in ("prompt", "chosen", "rejected")
    )
    assert row.media[0].source == str(root / record["image"]) and row.gold == 1
    (message,) = r1_reward.render(row)
    assert record["chosen"] in message["content"][-1]["text"]
    for rule in vl_rewardbench.MODES.values():
      assert rule.family(row) in ("general", "hallucination", "reasoning")
      assert rule.asked([row])[0]


def test_records_with_a_ranking_are_turned_to_the_better_one_first(tmp_path):
  (tmp_path / "data" / "images").mkdir(parents=True)
  (tmp_path / "data" / "images" / "a.jpg").write_bytes(picture())
  record = {"id": "RLHF-V-1", "query": "<image>\nWhich?", "image_path": "images/a.jpg"}
  record |= {"response": ["worse", "better"], "human_ranking": [1, 0]}
  path = tmp_path / "data" / "data.jsonl"
  path.write_text(json.dumps(record) + "\n")
  (found,) = vl_rewardbench.examples(tmp_path)
  assert found.responses == ("better", "worse") and found.question == "Which?"
  assert found.extra["better"] == 2
  wrong = {"human_ranking": ([1], None, [0, 0]), "response": (["one"], ["one", None], "one", None)}
  for name, value in ((name, value) for name, values in wrong.items() for value in values):
    path.write_text(json.dumps(record | {name: value}) + "\n")
    with pytest.raises(schema.BadRecord, match=f"line 1, field '{name}': must be"):
      list(vl_rewardbench.examples(tmp_path))


def test_an_array_of_records_is_read_like_its_lines(tmp_path):
  record = {"id": "RLAIF-V-1", "query": "<image>\nHow many?", "response": ["one", "two"]}
  record |= {"human_ranking": [1, 0], "image": "images/0.png"}
  (tmp_path / "images").mkdir()
  (tmp_path / "images" / "0.png").write_bytes(b"")
  (tmp_path / "data.json").write_text(json.dumps([record], indent=1))
  (one,) = vl_rewardbench.examples(tmp_path)
  assert (one.question, one.responses, one.extra["better"]) == ("How many?", ("two", "one"), 2)
  assert one.media[0].source == str(tmp_path / "images" / "0.png")


def test_the_hub_s_parquet_holds_its_pictures(tmp_path):
  (tmp_path / "data").mkdir()
  table = pyarrow.table(
    {
      "id": ["mathverse_1", "mathverse_1"],
      "query": ["How long?", "How long?"],
      "response": [["a", "b"], ["b", "a"]],
      "image": [{"bytes": picture(), "path": "1.jpg"}] * 2,
      "human_ranking": [[0, 1], [0, 1]],
    }
  )
  pyarrow.parquet.write_table(table, tmp_path / "data" / "test-00000-of-00001.parquet")
  one, two = vl_rewardbench.examples(tmp_path)
  assert one.media[0].source == picture()
  assert one.id != two.id and one.extra["id"] == two.extra["id"]  # ids repeat, rows do not


def test_a_missing_picture_is_named_by_its_row(root):
  (root / "vl_reward/img/image_1007.jpg").unlink()
  with pytest.raises(schema.BadMedia, match="line 33, field 'image': no such picture.*image_1007"):
    list(vl_rewardbench.examples(root))
