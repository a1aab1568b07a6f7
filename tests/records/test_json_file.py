"""JSON files of all forms as records, with the place of each in errors."""

import pytest

from cot_rm.records import json_file
from cot_rm.schema import BadRecord


def write(tmp_path, content, name="a.json"):
  path = tmp_path / name
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return json_file.JsonFile(path)


def test_a_bad_row_raises_when_it_is_read_and_does_not_stop_the_others(tmp_path):
  records = write(tmp_path, b'{"a": 1}\n{"a": }\n\n{"a": "\xff"}\n[1]\n{"a": 5}\n', "a.jsonl")
  assert len(records) == 5 and records[0] == {"a": 1} and records[-1] == {"a": 5}
  with pytest.raises(BadRecord, match="a.jsonl, line 2: not JSON: Expecting value at column 7"):
    records[1]
  with pytest.raises(BadRecord, match="a.jsonl, line 4: not UTF-8"):
    records[2]
  with pytest.raises(BadRecord, match="a.jsonl, line 5: must be an object, not list"):
    records[3]
  skimmed = list(records.skim())
  assert [isinstance(one, BadRecord) for one in skimmed] == [False, True, True, True, False]


def test_records_of_an_array_are_counted_from_0(tmp_path):
  records = write(tmp_path, '[{"a": 1},\n {"a":\n 2 x}]')
  assert records.where(0).endswith("a.json, record 0")
  with pytest.raises(BadRecord, match="record 1: not JSON: .* at line 3 of the record, column 4"):
    records[1]
  with pytest.raises(IndexError, match="no record 2 of 2"):
    records[2]


def test_line_breaks_within_texts_are_taken_as_they_are(tmp_path):
  assert write(tmp_path, '[{"a": "x\ny"}]')[0] == {"a": "x\ny"}


def test_utf_16_is_named(tmp_path):
  with pytest.raises(ValueError, match="a.json: is UTF-16"):
    write(tmp_path, '{"a": 1}'.encode("utf-16"))


def test_deep_nesting_is_a_bad_record(tmp_path):
  records = write(tmp_path, '{"a": 1}\n{"a": ' + "[" * 100_000 + "\n", "a.jsonl")
  with pytest.raises(BadRecord, match="line 2: n"):
    records[1]
