"""Files as their owners publish them: found, read, and faults by row and field."""

import glob
import logging
import pathlib

import pyarrow.parquet
import pytest

from cot_rm import records, schema
from cot_rm.benchmarks import published


def test_the_first_pattern_that_has_files_is_read(tmp_path):
  with pytest.raises(FileNotFoundError, match="Bench: .* none of data/\\*.parquet, data.jsonl"):
    published.find_files(tmp_path, ("data/*.parquet", "data.jsonl"), "Bench")
  (tmp_path / "data.jsonl").write_text("{}\n")
  found = published.find_files(tmp_path, ("data/*.parquet", "data.jsonl"), "Bench")
  assert found == [tmp_path / "data.jsonl"] == published.find_files(found[0], (), "Bench")


def test_a_folder_that_does_not_exist_is_said_to(tmp_path):
  with pytest.raises(FileNotFoundError, match="nowhere' does not exist; .* one of data.jsonl"):
    published.find_files(tmp_path / "nowhere", ("data.jsonl",), "Bench")


def test_a_folder_with_marks_of_patterns_in_its_name_is_searched(tmp_path):
  folder = tmp_path / "[1] bench*"
  folder.mkdir()
  (folder / "data-0.jsonl").write_text("{}\n")
  assert published.find_files(folder, ("data-*.jsonl",), "Bench") == [folder / "data-0.jsonl"]
  pattern = published.find_pattern(folder, ("data-*.jsonl",), "Bench")
  assert [len(records.open(pattern)), glob.glob(pattern)] == [1, [str(folder / "data-0.jsonl")]]


@pytest.mark.parametrize("found, said", [(10, False), (23, False), (9, True), (25, True)])
def test_a_number_of_pairs_that_is_not_known_is_said(found, said, caplog):
  with caplog.at_level(logging.WARNING):
    published.warn_of_size("Bench", found, {"first": range(10, 11), "hub": range(20, 25)})
  words = f"Bench: found {found} pairs; known are 10 (first), 20 to 24 (hub)"
  assert (words in caplog.text) == said


def seen(row, record, path, where):
  """A pair whose caption says what it was made of."""
  response = record.get("response", ["", ""])[1]
  return schema.Example(f"{row}:{record['id']}", "", "image_generation", f"{where} {response}")


def test_pairs_of_both_kinds_of_file(tmp_path):
  (tmp_path / "a.jsonl").write_text('{"id": "1"}\n\n{"id": "2"}\n')
  table = pyarrow.table({"id": ["1", "2"], "response": [["a", "b"], ["c", "d"]]})
  pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
  found = published.read_pairs([tmp_path / "a.jsonl", tmp_path / "a.parquet"], seen)
  assert [pair.id for pair in found] == ["0:1", "1:2", "2:1", "3:2"] and len(found) == 4
  assert found[1].question.strip().endswith("a.jsonl, line 3")
  assert found[-1].question.endswith("a.parquet, row 1 d")


@pytest.mark.parametrize("line, message", [("{", "line 2: not JSON"), ("[1]", "must be an object")])
def test_a_pair_at_fault_is_an_error_where_it_is_read_and_keeps_its_row(tmp_path, line, message):
  path = tmp_path / "a.jsonl"
  path.write_text('{"id": "1"}\n' + line + '\n{"id": "3"}\n')
  found = published.read_pairs([path], seen)
  assert len(found) == 3 and (found[0].id, found[2].id) == ("0:1", "2:3")
  with pytest.raises(schema.BadRecord, match=message):
    found[1]
  joined = published.Pairs.joined([found, found])
  assert len(joined) == 6 and joined[5].id == "2:3"
  with pytest.raises(schema.BadRecord, match=message):
    joined[4]


def test_faults_of_a_record_name_row_and_field(tmp_path):
  with pytest.raises(ValueError, match="row 3, field 'prompt': must be text, not None"):
    published.text_field({}, "prompt", "row 3")
  with pytest.raises(schema.BadMedia, match="row 3: no such picture.*a.png"):
    published.picture("a.png", (tmp_path,), "row 3")
  with pytest.raises(ValueError, match="row 3: must be a picture's path or bytes"):
    published.picture(None, (tmp_path,), "row 3")


def test_a_picture_is_a_path_in_the_first_folder_that_has_it_or_bytes(tmp_path):
  (tmp_path / "images").mkdir()
  (tmp_path / "images" / "a.png").write_bytes(b"png")
  folders = (tmp_path, tmp_path / "images")
  assert pathlib.Path(published.picture("a.png", folders, "").source).read_bytes() == b"png"
  assert published.picture({"bytes": b"png", "path": None}, folders, "").source == b"png"
