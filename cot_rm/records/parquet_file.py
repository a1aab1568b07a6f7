"""Records of a parquet file; row groups are decoded when a row is read, and few are kept."""

import collections
import pathlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from cot_rm.records.parts import UNREAD, Part, Record
from cot_rm.schema import BadRecord

CACHE_BYTES = 1 << 27  # of decoded row groups, over all files that were opened together
SLOW = 1 << 26  # bytes of a row group above which reading in random order is said to be slow
LARGEST = 1 << 25  # bytes of a row group; larger ones are decoded to disk
BATCH_BYTES = 1 << 23  # about, of the rows that are decoded to disk at a time
HEAVY = 20_000  # mean bytes of a text that is taken for encoded media, by its column's name
_MEDIA = ("image", "video", "jpg", "png", "picture", "frame")


class _InMemory:
  """The rows of a row group as one table."""

  def __init__(self, table: pa.Table):
    self._table, self.nbytes, self.num_rows = table, table.nbytes, table.num_rows

  def row(self, index: int) -> dict[str, Any]:
    """A row."""
    return self._table.slice(index, 1).to_pylist()[0]


class _OnDisk:
  """The rows of a row group in a temporary file, of which one part is in memory."""

  def __init__(self, schema: pa.Schema, parts: Iterable[pa.RecordBatch]):
    counts = []
    with tempfile.NamedTemporaryFile(prefix="cot_rm_", suffix=".arrow") as out:
      with pa.ipc.new_file(out.name, schema) as writer:
        for part in parts:
          writer.write_batch(part)
          counts.append(part.num_rows)
      # The open file outlives its name. It is not mapped: what was read would stay in memory.
      self._file = pa.ipc.open_file(pa.OSFile(out.name))
    self._ends_P = np.cumsum(counts, dtype=np.int64)
    self.num_rows = int(self._ends_P[-1])
    self._part, self._batch = 0, self._file.get_batch(0)

  @property
  def nbytes(self) -> int:
    """Bytes in memory."""
    return self._batch.nbytes

  def row(self, index: int) -> dict[str, Any]:
    """A row."""
    part = int(np.searchsorted(self._ends_P, index, side="right"))
    if part != self._part:
      self._part, self._batch = part, self._file.get_batch(part)
    return self._batch.slice(index - int(self._ends_P[part]) + self._batch.num_rows, 1).to_pylist()[
      0
    ]


class RowGroups:
  """The row groups that were read last, decoded; for several files and threads."""

  def __init__(self, limit: int = CACHE_BYTES):
    self._limit = limit
    self._groups: collections.OrderedDict[tuple[pathlib.Path, int], _InMemory | _OnDisk] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()
    self._said_slow = False

  def __getstate__(self) -> int:
    return self._limit  # another process reads for itself

  def __setstate__(self, limit: int) -> None:
    self.__init__(limit)

  def first_slow(self) -> bool:
    """Whether this is called for the first time: slow files are said once."""
    first, self._said_slow = not self._said_slow, True
    return first

  def row(self, path: pathlib.Path, group: int, index: int) -> dict[str, Any]:
    """A row of a row group of a file; an index below 0 counts from the end."""
    key = path, group
    with self._lock:
      if key not in self._groups:
        self._evict(_group_bytes(path, group))  # first: both need not be in memory
        self._groups[key] = _read_group(path, group)
      self._groups.move_to_end(key)
      rows = self._groups[key]
      return rows.row(index % rows.num_rows)

  def _evict(self, needed: int) -> None:
    """Drops the groups that were not read for the longest time, until `needed` bytes fit."""
    while self._groups and sum(g.nbytes for g in self._groups.values()) + needed > self._limit:
      self._groups.popitem(last=False)
    pa.default_memory_pool().release_unused()


class ParquetFile(Part):
  """The rows of a parquet file; a struct with `bytes` and `path` is a dict with encoded bytes."""

  unit = "row"

  def __init__(
    self,
    path: pathlib.Path,
    folders: Sequence[pathlib.Path] = (),
    row_groups: RowGroups | None = None,
  ):
    super().__init__(path, folders)
    self._row_groups = row_groups or RowGroups()
    try:
      with pq.ParquetFile(path) as file:
        meta = file.metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self.fields = file.schema_arrow.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
      raise ValueError(f"{path}: no readable parquet file: {error}") from error
    self._ends_G = np.cumsum(sizes, dtype=np.int64)
    largest = max((meta.row_group(i).total_byte_size for i in range(len(sizes))), default=0)
    if largest > SLOW and self._row_groups.first_slow():
      logging.info(
        "%s: a row that is read decodes its row group, up to %d MB, in twice that memory: shuffled "
        "reading is slow; the stage import stores such data for it",
        path,
        largest >> 20,
      )

  def __len__(self) -> int:
    return int(self._ends_G[-1]) if len(self._ends_G) else 0

  def read(self, index: int) -> object:
    group = int(np.searchsorted(self._ends_G, index, side="right"))
    try:
      return self._row_groups.row(self.path, group, index - int(self._ends_G[group]))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
      raise BadRecord(f"{self.where(index)}: cannot be read: {error}") from error

  def skim(self) -> Iterator[Record | BadRecord]:
    done = 0
    try:
      with pq.ParquetFile(self.path) as file:
        schema = file.schema_arrow
        for batch in file.iter_batches(batch_size=256, columns=_light_leaves(file)):
          for record in batch.to_pylist():
            yield {
              field.name: _restored(record.get(field.name, UNREAD), field.type) for field in schema
            }
            done += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError):
      for index in range(done, len(self)):  # row by row, to find the bad ones
        try:
          yield self[index]
        except BadRecord as error:
          yield error


def _group_bytes(path: pathlib.Path, group: int) -> int:
  with pq.ParquetFile(path) as file:
    return file.metadata.row_group(group).total_byte_size


def _read_group(path: pathlib.Path, group: int) -> _InMemory | _OnDisk:
  with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
    meta = file.metadata.row_group(group)
    if meta.total_byte_size <= LARGEST:
      return _InMemory(file.read_row_group(group))
    # A page of the file and its decompressed bytes are in memory together, and a page may be as
    # large as the row group. What is decoded of it would come on top, so it goes to disk in parts.
    rows = max(1, BATCH_BYTES * meta.num_rows // meta.total_byte_size)
    parts = file.iter_batches(rows, row_groups=[group], use_threads=False)
    return _OnDisk(file.schema_arrow, parts)


def _light_leaves(file: pq.ParquetFile) -> list[str]:
  """The columns without encoded media, as dotted paths; each struct keeps one column at least."""
  meta, schema = file.metadata, file.schema
  leaves = [schema.column(i) for i in range(len(schema))]
  heavy = set()
  for i, leaf in enumerate(leaves):
    if leaf.physical_type != "BYTE_ARRAY":
      continue
    nested = leaf.path != leaf.path.split(".")[0]
    if str(leaf.logical_type.type) not in ("STRING", "JSON"):
      siblings = [other for other in leaves if _parent(other.path) == _parent(leaf.path)]
      if not nested or len(siblings) > 1:
        heavy.add(leaf.path)
    elif not nested and any(word in leaf.path.lower() for word in _MEDIA):
      groups = [meta.row_group(g) for g in range(meta.num_row_groups)]
      size = sum(group.column(i).total_uncompressed_size for group in groups)
      if size > HEAVY * meta.num_rows:
        heavy.add(leaf.path)
  return [leaf.path for leaf in leaves if leaf.path not in heavy]


def _parent(path: str) -> str:
  return path.rpartition(".")[0]


def _restored(value: Any, kind: pa.DataType) -> Any:
  """The value with UNREAD for the binary fields of structs that were not read."""
  if value is None or value is UNREAD:
    return value
  if pa.types.is_struct(kind):
    return {field.name: _restored(value.get(field.name, UNREAD), field.type) for field in kind}
  if pa.types.is_list(kind) or pa.types.is_large_list(kind):
    return [_restored(element, kind.value_type) for element in value]
  return value
