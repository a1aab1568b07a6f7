"""Files with any bytes in any place: an error of the file, or bad records, and no other error."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cot_rm import records
from cot_rm.schema import BadRecord

ROWS = [
  {"id": str(i), "n": i, "image": {"bytes": b"x" * 40, "path": "a.png"}, "chat": ["ü" * i, "b"]}
  for i in range(20)
]
TEXTS = [{"id": row["id"], "chat": row["chat"], "text": 'a, "b"\n{c]'} for row in ROWS]


def write(path):
  table = pa.Table.from_pylist(ROWS)
  if path.suffix == ".parquet":
    pq.write_table(table, path, row_group_size=7)
  elif path.suffix == ".arrow":
    with pa.ipc.new_stream(str(path), table.schema) as writer:
      writer.write_table(table, max_chunksize=7)
  elif path.suffix == ".jsonl":
    path.write_text("".join(f"{json.dumps(row)}\n" for row in TEXTS))
  elif path.suffix == ".json":
    path.write_text(json.dumps(TEXTS, indent=1, ensure_ascii=False))
  else:
    path.write_text("id,text\n" + "".join(f'{i},"a, ""b""\n{i}"\n' for i in range(20)))
  return path.read_bytes()


def damaged(content, draw):
  out = bytearray(content)
  for _ in range(draw.choice((1, 1, 3, 20))):
    at, what = draw.randrange(len(out)), draw.random()
    if what < 0.5:
      out[at] = draw.randrange(256)
    elif what < 0.7:
      del out[at : at + draw.choice((1, 5, 200))]
    elif what < 0.9:
      out[at:at] = draw.choice((b'"', b"{", b"]", b"\n", b"\\", b"\0", b"\xff", b","))
    else:
      del out[at:]
    if not out:
      break
  return bytes(out)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow"])
def test_a_damaged_file_is_named_or_has_bad_records(tmp_path, name):
  content, draw = write(tmp_path / name), random.Random(name)
  for number in range(100):
    path = tmp_path / f"{number}{(tmp_path / name).suffix}"
    path.write_bytes(damaged(content, draw))
    try:
      found = records.open(path)
    except ValueError as error:
      assert str(path) in str(error), error
      continue
    for index in range(len(found)):
      try:
        assert isinstance(found[index], dict)
      except BadRecord as error:
        assert str(error).startswith(f"{path}, "), error
    for part in found.parts:
      assert len(list(part.skim())) == len(part)
