"""Parquet files: rows by index, a skim without the media, row groups that fit no memory."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from absl import logging

from cot_rm.records import parquet_file
from cot_rm.records.parts import UNREAD

ROWS = [
  {
    "id": i,
    "image": {"bytes": bytes([i]) * 50, "path": f"{i}.png"} if i % 5 else None,
    "images": [{"bytes": b"x" * 9, "path": None}] * (i % 3),
    "jpg_0": b"j" * 20,
    "text": f"row {i}",
    "chat": [{"role": "user", "content": "?"}],
  }
  for i in range(23)
]


@pytest.fixture
def file(tmp_path):
  pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=5)
  return parquet_file.ParquetFile(tmp_path / "a.parquet")


def test_rows_are_read_by_index_in_any_order(file):
  assert len(file) == 23 and file.where(7).endswith("a.parquet, row 7")
  assert [file[i] for i in (22, 0, 7, 7, -1)] == [ROWS[i] for i in (22, 0, 7, 7, -1)]
  assert list(file) == ROWS
  assert pickle.loads(pickle.dumps(file))[3] == ROWS[3]


def test_a_skim_has_all_but_the_encoded_media(file):
  skimmed = list(file.skim())
  for found, row in zip(skimmed, ROWS, strict=True):
    assert found["image"] == (row["image"] and {"bytes": UNREAD, "path": row["image"]["path"]})
    assert found["images"] == [{"bytes": UNREAD, "path": None}] * len(row["images"])
    assert found["jpg_0"] is UNREAD
    assert {k: found[k] for k in ("id", "text", "chat")} == {
      k: row[k] for k in ("id", "text", "chat")
    }


def test_long_texts_in_a_column_of_pictures_are_taken_for_base64(tmp_path):
  import random

  texts = ["".join(random.Random(i).choices("abcdefgh", k=60_000)) for i in range(3)]
  table = pa.table({"image": texts, "question": texts})
  pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
  skimmed = list(parquet_file.ParquetFile(tmp_path / "a.parquet").skim())
  assert [row["image"] for row in skimmed] == [UNREAD] * 3
  assert [row["question"] for row in skimmed] == texts


def test_few_row_groups_are_kept(file, monkeypatch):
  groups = file._row_groups
  groups._limit = 1
  for i in (0, 6, 11):
    file[i]
    assert len(groups._groups) == 1


def test_a_row_group_that_is_too_large_is_decoded_to_disk(file, monkeypatch):
  monkeypatch.setattr(parquet_file, "LARGEST", 10)
  for size in (1, 1 << 10, 1 << 30):  # of the parts that are decoded at a time
    monkeypatch.setattr(parquet_file, "BATCH_BYTES", size)
    assert list(parquet_file.ParquetFile(file.path)) == ROWS


def test_large_row_groups_are_said_once(file, monkeypatch, caplog):
  monkeypatch.setattr(parquet_file, "SLOW", 10)
  logging.use_absl_handler()
  with caplog.at_level("INFO"):
    for _ in range(2):
      parquet_file.ParquetFile(file.path, (), file._row_groups)
  assert len([r for r in caplog.records if "shuffled reading is slow" in r.getMessage()]) == 1


def test_a_file_that_is_no_parquet_is_named(tmp_path):
  (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
  with pytest.raises(ValueError, match="a.parquet: no readable parquet file"):
    parquet_file.ParquetFile(tmp_path / "a.parquet")
