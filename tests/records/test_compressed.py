"""Compressed files are read like plain ones."""

import bz2
import gzip
import pathlib

import pyarrow
import pytest

from cot_rm import records
from cot_rm.records import compressed

CONTENT = b'{"a": 1}\n{"a": 2}\n'


def zstd(data):
  out = pyarrow.BufferOutputStream()
  with pyarrow.CompressedOutputStream(out, "zstd") as stream:
    stream.write(data)
  return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
  "suffix, pack", [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)]
)
def test_a_compressed_file_has_the_same_records(tmp_path, suffix, pack):
  path = tmp_path / f"a.jsonl{suffix}"
  path.write_bytes(pack(CONTENT))
  assert list(records.open(path)) == [{"a": 1}, {"a": 2}]


def test_a_damaged_compressed_file_is_named(tmp_path):
  (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(CONTENT)[:20])
  with pytest.raises(ValueError, match="a.jsonl.gz: cannot be unpacked"):
    records.open(tmp_path / "a.jsonl.gz")


def test_the_suffix_without_that_of_the_compression():
  assert compressed.plain_suffix(pathlib.Path("x/a.JSONL.gz")) == ".jsonl"
  assert compressed.plain_suffix(pathlib.Path("a.tar.gz")) == ".tar"
