"""Offsets of records: the same whatever the form of the file and the size of the chunks."""

import io
import json

import pytest

from cot_rm.records import json_scan

RECORDS = [
  {"a": "x"},
  {"a": 'quote " and {brackets]', "b": [1, {"c": None}]},
  {"a": "back\\slash\\", "b": "ü 🙂"},
  {"a": "", "b": {}},
]


def values(content):
  """The form of a file and its records, parsed."""
  file = io.BytesIO(content)
  spans = json_scan.scan(file)
  out = []
  for start, end in zip(spans.starts_N, spans.ends_N, strict=True):
    out.append(json.loads(content[start:end]))
  return spans.form, out


FORMS = {
  "lines": lambda dumped: "\n".join(dumped),
  "lines, a final break": lambda dumped: "\n".join(dumped) + "\n",
  "lines of Windows, blank ones between": lambda dumped: "\r\n \t\r\n\r\n".join(dumped) + "\r\n",
  "array": lambda dumped: f"[{','.join(dumped)}]",
  "array over lines": lambda dumped: "[\n  " + ",\n  ".join(dumped) + "\n]\n",
  "array with a comma at its end": lambda dumped: "[" + ",".join(dumped) + ",\n]",
  "wrapped": lambda dumped: f'{{"version": [1], "data": [{",".join(dumped)}], "n": {{}}}}',
}


@pytest.mark.parametrize("chunk", [1 << 24, 7, 1])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("form", FORMS)
def test_records_are_found_in_every_form(monkeypatch, form, bom, chunk):
  monkeypatch.setattr(json_scan, "CHUNK", chunk)
  dumped = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
  assert values(bom + FORMS[form](dumped).encode())[1] == RECORDS


@pytest.mark.parametrize("chunk", [1 << 24, 5])
@pytest.mark.parametrize("between", ["\n", "", "\n\n"])
def test_objects_over_several_lines_one_after_the_other(monkeypatch, between, chunk):
  monkeypatch.setattr(json_scan, "CHUNK", chunk)
  text = between.join(json.dumps(record, indent=1) for record in RECORDS)
  assert values(text.encode()) == ("objects", RECORDS)


def test_lines_are_counted_with_the_blank_ones():
  spans = json_scan.scan(io.BytesIO(b'\n{"a": 1}\n\n  \n{"a": 2}\n'))
  assert spans.form == "lines" and list(spans.numbers_N) == [2, 5]


@pytest.mark.parametrize("content", [b"", b"\n", b"[]", b" [ ] ", b"\xef\xbb\xbf"])
def test_a_file_without_records(content):
  assert values(content)[1] == []


def test_a_record_that_is_no_json_hides_no_other():
  content = b'[{"a": 1}, {"a": nope}, {"a": 3}]'
  spans = json_scan.scan(io.BytesIO(content))
  texts = [content[s:e].strip() for s, e in zip(spans.starts_N, spans.ends_N, strict=True)]
  assert texts == [b'{"a": 1}', b'{"a": nope}', b'{"a": 3}']


def test_a_bad_first_line_does_not_make_one_object_of_the_file():
  spans = json_scan.scan(io.BytesIO(b'{"a": \n{"a": 2}\n{"a": 3}\n'))
  assert spans.form == "lines" and len(spans.starts_N) == 3
  assert len(json_scan.scan(io.BytesIO(b"{")).starts_N) == 1


def test_a_file_that_ends_within_a_record_has_that_record_too():
  assert len(json_scan.scan(io.BytesIO(b'[{"a": 1}, {"a": "un')).starts_N) == 2
  assert len(json_scan.scan(io.BytesIO(b'{\n"a": 1\n}\n{\n"a": ')).starts_N) == 2


def test_one_record_with_a_list_is_no_wrapper():
  record = {"messages": [{"role": "user"}], "images": ["a.jpg"]}
  assert values(json.dumps(record).encode())[1] == [record]
  assert values(json.dumps(record, indent=1).encode())[1] == [record]
  two = {"data": [{"a": 1}], "rows": [{"a": 2}]}
  assert values(json.dumps(two).encode())[1] == [two]
  texts = {"data": ["a", "b"]}
  assert values(json.dumps(texts).encode())[1] == [texts]
