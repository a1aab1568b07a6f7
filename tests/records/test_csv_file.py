"""CSV files as Python's csv module reads them, row by row."""

import csv
import io
import time
import tracemalloc

import pytest

from cot_rm.records import csv_file
from cot_rm.schema import BadRecord

ROWS = [
  {"path": "a.mp4", "prompt": "a red box, moving"},
  {"path": "b.mp4", "prompt": 'a "big"\nbox'},
  {"path": "", "prompt": "ü"},
]


def write(tmp_path, text, name="a.csv"):
  (tmp_path / name).write_bytes(text.encode())
  return csv_file.CsvFile(tmp_path / name)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_rows_are_those_that_were_written(tmp_path, delimiter, end, bom):
  out = io.StringIO()
  writer = csv.DictWriter(out, ["path", "prompt"], delimiter=delimiter, lineterminator=end)
  writer.writeheader()
  writer.writerows(ROWS)
  assert list(write(tmp_path, bom + out.getvalue())) == ROWS


def test_a_quote_inside_a_field_is_no_quotation(tmp_path):
  assert [row["size"] for row in write(tmp_path, 'n,size\n1,5"\n2,6"\n')] == ['5"', '6"']


def test_a_row_of_other_length_is_a_bad_record(tmp_path):
  rows = write(tmp_path, "a,b\n1,2\n3\n\n4,5\n")
  assert len(rows) == 3 and rows[2] == {"a": "4", "b": "5"}
  with pytest.raises(BadRecord, match="a.csv, row 1: 1 values, and the header has 2 names"):
    rows[1]


def test_a_file_of_many_lines_in_quotes_is_opened_fast_and_not_held(tmp_path):
  field = ("x" * 99 + "\n") * 10_000
  path = tmp_path / "a.csv"
  path.write_text("n,text\n" + "".join(f'{n},"{field}"\n' for n in range(40)) + '9,"open\n')
  tracemalloc.start()
  start = time.monotonic()
  rows = csv_file.CsvFile(path)
  seconds, most = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert seconds < 5 and most < 5 * len(field)
  assert len(rows) == 41 and rows[39] == {"n": "39", "text": field}


def test_a_field_may_be_long_and_a_file_empty(tmp_path):
  assert len(write(tmp_path, "a\n" + "x" * 300_000 + "\n")[0]["a"]) == 300_000
  assert len(write(tmp_path, "")) == len(write(tmp_path, "a,b\n")) == 0
