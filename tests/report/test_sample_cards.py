"""A sample's card says what was asked, what the model says, whether it is right, what it earned."""

import json

import pytest
from etils import epath

from cot_rm.report import sample_cards

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def record(**changes):
  return {
    "id": "vl-1",
    "task": "image_understanding",
    "question": "How many?",
    "responses": ["two", "three"],
    "gold": 1,
    "text": "<answer>Answer 1 is better</answer>",
    "answer": 1,
    "rewards": {"accuracy": 1.0},
    "reasoning_ok": "",
    "media": [PIXEL],
  } | changes


def keep(folder, step, *records):
  path = epath.Path(folder) / "samples" / f"{step:06d}.jsonl"
  path.parent.mkdir(exist_ok=True)
  path.write_text("".join(json.dumps(one) + "\n" for one in records))


@pytest.mark.parametrize(
  "changes, verdict, says",
  [
    ({}, "right", "✓ says 1, better is 1"),
    ({"answer": 2}, "wrong", "✗ says 2, better is 1"),
    ({"answer": None}, "unparsable", "? no verdict, better is 1"),
    ({"gold": None}, "unknown", "says 1"),
  ],
)
def test_a_card_says_whether_the_verdict_is_right(changes, verdict, says):
  card = sample_cards.card(record(**changes))
  assert (card["verdict"], card["says"]) == (verdict, says)


@pytest.mark.parametrize(
  "found, note",
  [(True, "true to the scene"), (False, "not true to the scene"), (None, ""), ("two", "two")],
)
def test_what_is_known_of_the_reasoning_stands_beneath(found, note):
  assert note in sample_cards.card(record(reasoning_ok=found))["note"]


def test_a_video_is_its_frames():
  assert sample_cards.card(record(media=[PIXEL, [PIXEL, PIXEL]]))["media"] == [
    [PIXEL],
    [PIXEL, PIXEL],
  ]


def test_a_source_that_is_no_picture_is_refused():
  with pytest.raises(ValueError, match="'vl-1'.*javascript"):
    sample_cards.card(record(media=[[PIXEL, "javascript:alert(1)"]]))


def test_the_newest_samples_stand_by_kind(tmp_path):
  keep(tmp_path, 7, record(id="old"))
  plain = [record(id=str(number)) for number in range(sample_cards.PLAIN + 3)]
  keep(tmp_path, 120, record(id="b", kind="best"), record(id="w", kind="worst"), *plain)
  step, kinds = sample_cards.newest(epath.Path(tmp_path))
  assert step == "120" and len(kinds["sample"]) == sample_cards.PLAIN
  assert [kinds[kind][0]["id"] for kind in ("best", "worst", "sample")] == ["b", "w", "0"]


def test_a_kind_that_nobody_knows_is_named(tmp_path):
  keep(tmp_path, 1, record(kind="odd"))
  with pytest.raises(ValueError, match="'vl-1'.*'odd'"):
    sample_cards.newest(epath.Path(tmp_path))


def test_a_stage_without_samples_has_none(tmp_path):
  assert sample_cards.newest(epath.Path(tmp_path)) is None
