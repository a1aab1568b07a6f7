"""Arrow files of both formats, mapped."""

import pickle

import pyarrow as pa
import pytest

from cot_rm.records import arrow_file
from cot_rm.records.parts import UNREAD

ROWS = [
  {"id": i, "image": {"bytes": b"x" * i, "path": None} if i % 2 else None, "question": "?"}
  for i in range(7)
]


@pytest.mark.parametrize("make", [pa.ipc.new_stream, pa.ipc.new_file])
def test_rows_are_read_by_index(tmp_path, make):
  table = pa.Table.from_pylist(ROWS)
  with make(str(tmp_path / "a.arrow"), table.schema) as writer:
    writer.write_table(table, max_chunksize=3)
  file = arrow_file.ArrowFile(tmp_path / "a.arrow")
  assert list(file) == ROWS and file[-1] == ROWS[-1]
  assert pickle.loads(pickle.dumps(file))[5] == ROWS[5]
  images = [row["image"] for row in file.skim()]
  assert images == [row["image"] and {"bytes": UNREAD, "path": None} for row in ROWS]


def test_a_damaged_file_is_named(tmp_path):
  (tmp_path / "a.arrow").write_bytes(b"nothing")
  with pytest.raises(ValueError, match="a.arrow: no readable Arrow file"):
    arrow_file.ArrowFile(tmp_path / "a.arrow")
