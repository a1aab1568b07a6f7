"""Acc and Acc+ as published, categories, and frames in order."""

import collections
import json

import PIL.Image
import pytest

from cot_rm import schema
from cot_rm.benchmarks import mm_rlhf_rewardbench
from cot_rm.prompts import r1_reward

PAIRS = {"mcq": 42, "long": 37, "short": 34, "safety": 32, "video": 25}
IDS = {"mcq": 10, "long": 10, "short": 10, "safety": 6, "video": 10}


def rows(example):
  """170 examples of 46 ids, in the published numbers of each category."""
  return [
    example(1, id=f"{name}-{i % IDS[name]}", path=f"{name}/{i % IDS[name]}.png")
    for name, count in PAIRS.items()
    for i in range(count)
  ]


def judged(example, says, wrong):
  """All of them first in order 0; `wrong`: {category: how many ids lose which number of pairs}."""
  found, lost = [], collections.Counter()
  for row in rows(example):
    name, number = row.extra["id"].split("-")
    misses = lost[row.extra["id"]] < wrong[name].get(int(number), 0)
    lost[row.extra["id"]] += misses
    found.append(says(row, 2 if misses else 1))
  return found


@pytest.fixture
def root(tmp_path, fixtures):
  """The layout of the owners' hub page, with pictures of our own."""
  text = (fixtures / "mm_rlhf_rewardbench.jsonl").read_text()
  (tmp_path / "mm_reward_bench.jsonl").write_text(text)
  for record in map(json.loads, text.splitlines()):
    if "image" in record:
      path = tmp_path / "images" / record["image"]
      path.parent.mkdir(parents=True, exist_ok=True)
      PIL.Image.new("RGB", (8, 8), "red").save(path, "PNG")
    else:
      folder = tmp_path / "images" / record["video"].removeprefix("video/")
      if folder.exists():  # of another pair about it
        continue
      folder.mkdir()
      for i in reversed(range(40)):
        PIL.Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"c01_{i + 1:04d}.jpeg")
  return tmp_path


def test_the_published_row_of_r1_reward_comes_out(example, says):
  wrong = {  # 8, 4, 6, 8 and 7 pairs of 21 ids
    "mcq": {0: 4, 1: 2, 2: 1, 3: 1},
    "long": {0: 2, 1: 1, 2: 1},
    "short": {0: 3, 1: 1, 2: 1, 3: 1},
    "safety": {0: 4, 1: 2, 2: 1, 3: 1},
    "video": {0: 2, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1},
  }
  given = judged(example, says, wrong)
  found = mm_rlhf_rewardbench.score(given, [None] * 170, mode="r1_reward")
  percent = lambda value: round(100 * value, 2)
  assert percent(found["accuracy"]) == 80.59  # 137 of 170
  assert percent(found["accuracy_plus"]) == 54.35  # 25 of 46
  assert {name: percent(value) for name, value in found["families"].items()} == {
    "mcq": 80.95,
    "long": 89.19,
    "short": 82.35,
    "safety": 75.0,
    "video": 72.0,
  }
  assert found["families_plus"] == {
    "mcq": 0.6,
    "long": 0.7,
    "short": 0.6,
    "safety": round(2 / 6, 6),
    "video": 0.4,
  }
  sizes = {name: what["n"] for name, what in found["definitions"].items()}
  assert sizes["accuracy"] == 170 and sizes["accuracy_plus"] == 46
  assert sizes["families/video"] == 25 and sizes["families_plus/safety"] == 6
  low, high = found["intervals"]["accuracy_plus"]
  assert (high - low) / 2 == pytest.approx(0.14, abs=0.002)


def test_in_both_orders_acc_plus_is_the_mean_of_the_two(example, says):
  all_right = {name: {} for name in PAIRS}
  given = judged(example, says, all_right)
  swapped = [says(row.swapped(), 1) for row in rows(example)]  # always the first: now wrong
  found = mm_rlhf_rewardbench.score(given, swapped)
  assert found["accuracy"] == found["accuracy_plus"] == 0.5
  assert set(found["families_plus"].values()) == {0.5}


def test_the_category_is_the_first_word_in_the_path(fixtures):
  lines = (fixtures / "mm_rlhf_rewardbench.jsonl").read_text().splitlines()
  paths = [r.get("image") or r["video"] for r in map(json.loads, lines)]
  found = collections.Counter(map(mm_rlhf_rewardbench.category, paths))
  assert found == {"mcq": 9, "short": 7, "long": 7, "video": 5}
  assert mm_rlhf_rewardbench.category("long/a_short_video.png") == "long"
  with pytest.raises(ValueError, match="^'other/1.png' is of none"):
    mm_rlhf_rewardbench.category("other/1.png")


def test_a_path_without_a_category_is_named_with_its_row_and_field(root):
  path = root / "mm_reward_bench.jsonl"
  path.write_text(path.read_text().replace('"mcq/073712.png"', '"other/073712.png"'))
  (root / "images" / "mcq").rename(root / "images" / "other")
  with pytest.raises(schema.BadRecord, match="line 1, field 'image': 'other/.* of none of the cat"):
    mm_rlhf_rewardbench.examples(root)[0]


def test_records_with_pictures_and_videos(root):
  found = mm_rlhf_rewardbench.examples(root)
  assert len({e.id for e in found}) == 28  # a row has its own id
  picture, video = found[0], found[23]
  assert picture.task == "image_understanding" and picture.gold == 1
  assert picture.media[0].source == str(root / "images" / "mcq" / "073712.png")
  assert video.task == "video_understanding" and video.id == "23:-77dfCjTbSc_2_94421"
  names = [path.rpartition("/")[2] for path in video.media[0].source]
  assert len(names) == 32 and names == sorted(names)
  # 39 / 31 apart, cut to whole numbers: frames 0, 1, 2, 3, 5, ... 39
  assert (
    names[:5] == [f"c01_{i:04d}.jpeg" for i in (1, 2, 3, 4, 6)] and names[-1] == "c01_0040.jpeg"
  )
  (message,) = r1_reward.render(video)
  assert [part["type"] for part in message["content"]] == ["video", "text"]


def test_all_real_records_are_read_and_become_prompts(root):
  rows = mm_rlhf_rewardbench.examples(root)
  lines = (root / "mm_reward_bench.jsonl").read_text().splitlines()
  assert len(rows) == len(lines) == 28 and len({e.extra["id"] for e in rows}) == 8
  for row, record in zip(rows, map(json.loads, lines), strict=True):
    assert (row.question, *row.responses) == tuple(
      record[name] for name in ("prompt", "chosen", "rejected")
    )
    (message,) = r1_reward.render(row)
    assert record["chosen"] in message["content"][-1]["text"]
    for rule in mm_rlhf_rewardbench.MODES.values():
      assert rule.family(row) == record.get("image", record.get("video")).partition("/")[0]
      assert rule.question(row) == record["id"] and rule.asked([row])[0]


def test_a_short_video_repeats_its_frames_and_an_empty_one_is_named(root):
  folder = root / "images" / "-77dfCjTbSc"
  for path in sorted(folder.iterdir())[2:]:
    path.unlink()
  names = [p.rpartition("/")[2] for p in mm_rlhf_rewardbench.frames(folder, "row 5")]
  assert names == ["c01_0001.jpeg"] * 31 + ["c01_0002.jpeg"]
  for path in folder.iterdir():
    path.unlink()
  with pytest.raises(ValueError, match="line 24, field 'video': .*a video without frames"):
    list(mm_rlhf_rewardbench.examples(root))
  folder.rmdir()
  with pytest.raises(schema.BadMedia, match="line 24, field 'video': .*-77dfCjTbSc"):
    list(mm_rlhf_rewardbench.examples(root))
