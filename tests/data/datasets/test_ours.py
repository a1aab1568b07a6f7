"""Our own records in every form of file."""

import json

import pytest

from cot_rm.data import bad_examples, datasets, jsonl
from cot_rm.toy_world import world

OURS = {
  "id": "1",
  "task": "image_understanding",
  "question": "How many?",
  "images": ["a.jpg"],
  "responses": ["one", "three"],
  "gold": 1,
}


@pytest.mark.parametrize(
  "name, text",
  [
    ("array.json", "\ufeff" + json.dumps([OURS, {**OURS, "id": "2"}], indent=1)),
    ("pretty.jsonl", json.dumps(OURS, indent=1) + "\n" + json.dumps({**OURS, "id": "2"}, indent=1)),
    ("lines.jsonl", "\ufeff" + json.dumps(OURS) + "\r\n\r\n" + json.dumps({**OURS, "id": "2"})),
  ],
)
def test_ours_are_read_in_every_form(folder, tmp_path, name, text):
  folder.media("a.jpg")
  (tmp_path / name).write_text(text)
  one, two = datasets.open(tmp_path / name, "train")
  assert (one.id, two.id, one.gold, one.responses) == ("1", "2", 1, ("one", "three"))
  assert one.media[0].source == str(tmp_path / "a.jpg") and one.source == ""


def test_what_was_written_comes_back(tmp_path):
  examples = list(world.examples(world.World(), "train", count=3))
  jsonl.write(tmp_path / "a.jsonl", examples)
  read = datasets.open(tmp_path / "a.jsonl", "train")
  assert [e.id for e in read] == [e.id for e in examples] and len(read) == 3
  assert [e.responses for e in read] == [e.responses for e in examples]


def test_ids_of_ours_stay_as_they_are(folder):
  folder.media("a.jpg")
  assert [e.id for e in folder.open([OURS, OURS])] == ["1", "1"]


def test_a_wrong_record_of_ours_is_named_by_line_and_field(folder, tmp_path):
  folder.media("a.jpg")
  folder.write([OURS, {**OURS, "gold": "x"}], "a.jsonl")
  with pytest.raises(
    bad_examples.TooManyBad, match="a.jsonl, line 2, field 'gold': must be a whole"
  ):
    datasets.open(tmp_path / "a.jsonl", "train")
