"""A sample card shows the question, the answer, whether it is right, and its rewards."""

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


def write(folder, step, *records):
  path = epath.Path(folder) / "samples" / f"{step:06d}.jsonl"
  path.parent.mkdir(exist_ok=True)
  path.write_text("".join(json.dumps(one) + "\n" for one in records))


@pytest.mark.parametrize(
  "changes, outcome, verdict",
  [
    ({}, "right", "✓ verdict 1, preferred 1"),
    ({"answer": 2}, "wrong", "✗ verdict 2, preferred 1"),
    ({"answer": None}, "unparsable", "? no verdict, preferred 1"),
    ({"gold": None}, "unknown", "verdict 1"),
  ],
)
def test_a_card_shows_whether_the_verdict_is_right(changes, outcome, verdict):
  card = sample_cards.card(record(**changes))
  assert (card.outcome, card.verdict) == (outcome, verdict)


@pytest.mark.parametrize(
  "found, note",
  [(True, "matches the scene"), (False, "contradicts the scene"), (None, ""), ("two", "two")],
)
def test_a_card_has_a_note_on_the_reasoning(found, note):
  assert note in sample_cards.card(record(reasoning_ok=found)).note


def test_a_video_is_its_frames():
  assert sample_cards.card(record(media=[PIXEL, [PIXEL, PIXEL]])).media == [
    [PIXEL],
    [PIXEL, PIXEL],
  ]


def test_a_medium_that_is_no_picture_is_refused():
  with pytest.raises(ValueError, match="'vl-1'.*javascript"):
    sample_cards.card(record(media=[[PIXEL, "javascript:alert(1)"]]))


def test_the_newest_samples_are_grouped_by_kind(tmp_path):
  write(tmp_path, 7, record(id="old"))
  plain = [record(id=str(number)) for number in range(sample_cards.MAX_UNSELECTED + 3)]
  write(tmp_path, 120, record(id="b", kind="best"), record(id="w", kind="worst"), *plain)
  step, by_kind = sample_cards.newest(epath.Path(tmp_path))
  assert step == "120" and len(by_kind["sample"]) == sample_cards.MAX_UNSELECTED
  assert [by_kind[kind][0].id for kind in ("best", "worst", "sample")] == ["b", "w", "0"]


def test_an_unknown_kind_is_named(tmp_path):
  write(tmp_path, 1, record(kind="odd"))
  with pytest.raises(ValueError, match="'vl-1'.*'odd'"):
    sample_cards.newest(epath.Path(tmp_path))


def test_a_stage_without_samples_has_none(tmp_path):
  assert sample_cards.newest(epath.Path(tmp_path)) is None


def test_the_card_of_a_mixture_has_its_media_between_its_texts():
  shown = [f"{PIXEL}{number}" for number in range(4)]
  card = sample_cards.card(
    record(question="Draw it.", responses=["one two", ""], media=shown, places=[[5], [0, 4], [0]])
  )
  assert card.mixed == [
    ["Draw ", [shown[0]], "it."],
    [[shown[1]], "one ", [shown[2]], "two"],
    [[shown[3]]],
  ]
  edits = record(question="Black.", responses=[], media=shown[:3], places=[[0], [0], [0]])
  edits["task"] = "image_generation"
  assert sample_cards.card(edits).mixed == [
    [[shown[0]], "Black."],
    [[shown[1]]],
    [[shown[2]]],
  ]
  assert sample_cards.card(record()).mixed == []
