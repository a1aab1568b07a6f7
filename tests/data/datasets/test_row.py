"""Checked access to the fields of a record."""

import pathlib

import pytest

from cot_rm.data.datasets import row as rows
from cot_rm.schema import BadRecord, Media


def test_texts_numbers_and_ids(make_row):
  row = make_row({"a": "x", "n": "0.5", "none": None, "nan": float("nan"), "idx": 7, "blank": " "})
  assert row.text("none", "a") == "x" and row.get("none", "n") == "0.5"
  assert row.number("n") == 0.5 and row.number("none") is None and row.number("nan") is None
  assert row.id() == "7" and row.id("a") == "x" and row.id("none") == ""
  assert row.extra("a", "idx", "none") == {"a": "x", "idx": 7}
  for name, message in (("gone", "is missing"), ("blank", "must be text"), ("idx", "must be text")):
    with pytest.raises(BadRecord, match=f"file, record 3: field '{name}' {message}"):
      row.text(name)
  with pytest.raises(BadRecord, match="field 'a' must be a number"):
    row.number("a")


def test_an_object_of_lists_is_a_list_of_objects(make_row):
  row = make_row({"turns": {"from": ["human", "gpt"], "value": ["?", "!"]}, "n": 5})
  assert row.items("turns") == [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]
  with pytest.raises(BadRecord, match="field 'n' must be a list, not int"):
    row.items("n")


def test_media_of_a_record(make_row):
  row = make_row({})
  assert row.image({"bytes": b"x", "path": None}, "image") == Media("image", b"x")
  assert row.video("a.mp4", "video") == Media("video", "a.mp4")
  assert row.video(["0.jpg", b"1"], "images") == Media("video", ("0.jpg", b"1"))
  with pytest.raises(BadRecord, match="field 'images': must be a video's path or frames"):
    row.video([], "images")


def test_the_stem_of_a_file_has_no_suffixes():
  assert rows.file_stem(pathlib.Path("a/b.json.gz")) == "b"


def test_text_that_holds_a_list_or_an_object_is_read_as_json_or_as_python_prints_it():
  for text in ('["a", 1]', "['a', 1]", " ['a', 1]\n"):
    assert rows.structured(text) == ["a", 1]
  assert rows.structured('{"a": null}') == rows.structured("{'a': None}") == {"a": None}
  for value in ("[1] is it", "{x}", "[", "[" * 5000 + "]" * 5000, "a", None, 3, ["a"]):
    assert rows.structured(value) is value
