"""Records of a parquet file; row groups are decoded when a row is read, and few are kept."""

import collections
import pathlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from cot_rm.records.parts import UNREAD, Part, Record
from cot_rm.schema import BadRecord

CACHE_BYTES = 1 << 28  # of decoded row groups, over all files that were opened together
SLOW = 1 << 26  # bytes of a row group above which reading in random order is said to be slow
LARGEST = 1 << 27  # bytes of a row group; larger ones are decoded to disk
HEAVY = 20_000  # mean bytes of a text that is taken for encoded media, by its column's name
_MEDIA = ("image", "video", "jpg", "png", "picture", "frame")


class RowGroups:
  """The row groups that were read last, as Arrow tables; for several files and threads."""

  def __init__(self, limit: int = CACHE_BYTES):
    self._limit = limit
    self._tables: collections.OrderedDict[tuple[pathlib.Path, int], pa.Table] = (
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

  def get(self, path: pathlib.Path, group: int) -> pa.Table:
    """The row group of a file."""
    key = path, group
    with self._lock:
      if key not in self._tables:
        self._evict(_group_bytes(path, group))  # first: both need not be in memory
        self._tables[key] = _read_group(path, group)
      self._tables.move_to_end(key)
      return self._tables[key]

  def _evict(self, needed: int) -> None:
    """Drops the tables that were not read for the longest time, until `needed` bytes fit."""
    while self._tables and sum(t.nbytes for t in self._tables.values()) + needed > self._limit:
      self._tables.popitem(last=False)
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
    if largest > SLOW and len(sizes) > 1 and self._row_groups.first_slow():
      logging.info(
        "%s: a row that is read decodes its row group, up to %d MB: shuffled reading is slow; the "
        "stage import stores such data for it",
        path,
        largest >> 20,
      )

  def __len__(self) -> int:
    return int(self._ends_G[-1]) if len(self._ends_G) else 0

  def read(self, index: int) -> object:
    group = int(np.searchsorted(self._ends_G, index, side="right"))
    try:
      table = self._row_groups.get(self.path, group)
      row = index - int(self._ends_G[group]) + table.num_rows
      return table.slice(row, 1).to_pylist()[0]
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


def _read_group(path: pathlib.Path, group: int) -> pa.Table:
  with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
    if file.metadata.row_group(group).total_byte_size <= LARGEST:
      return file.read_row_group(group)
    logging.info(
      "%s: row group %d has %d MB: decoded to disk, to be read row by row",
      path,
      group,
      file.metadata.row_group(group).total_byte_size >> 20,
    )
    with tempfile.NamedTemporaryFile(prefix="cot_rm_", suffix=".arrow") as out:
      with pa.ipc.new_file(out.name, file.schema_arrow) as writer:
        for batch in file.iter_batches(batch_size=64, row_groups=[group]):
          writer.write_batch(batch)
      # The mapping outlives the name of the file.
      return pa.ipc.open_file(pa.memory_map(out.name)).read_all()


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
