"""Records of an Arrow file, as Hugging Face's datasets keeps them on disk; the file is mapped."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cot_rm.records.parts import UNREAD, Part, Record
from cot_rm.schema import BadRecord

_SKIMMED = 256  # rows at a time


class ArrowFile(Part):
  """The rows of an Arrow file, of the stream or of the file format."""

  unit = "row"

  def __init__(self, path: pathlib.Path, folders: Sequence[pathlib.Path] = ()):
    super().__init__(path, folders)
    self._table = _memory_map(path)
    self.fields = self._table.column_names

  def __getstate__(self) -> dict[str, Any]:
    return {**vars(self), "_table": None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    vars(self).update(state, _table=_memory_map(state["path"]))

  def __len__(self) -> int:
    return self._table.num_rows

  def read(self, index: int) -> object:
    try:
      row = self._table.slice(index, 1)
      row.validate(full=True)  # a damaged file may point outside of itself
      return row.to_pylist()[0]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
      raise BadRecord(f"{self.where(index)}: cannot be read: {error}") from error

  def skim(self) -> Iterator[Record | BadRecord]:
    for start in range(0, len(self), _SKIMMED):
      rows = self._table.slice(start, _SKIMMED)
      try:
        rows.validate(full=True)
        columns = [_light(rows.column(name)) for name in self.fields]
      except (pa.ArrowException, UnicodeDecodeError):
        for index in range(start, start + rows.num_rows):  # row by row, to find the bad ones
          try:
            yield self[index]
          except BadRecord as error:
            yield error
        continue
      for values in zip(*columns, strict=True):
        yield dict(zip(self.fields, values, strict=True))


def _memory_map(path: pathlib.Path) -> pa.Table:
  try:
    source = pa.memory_map(str(path))
    try:
      table = pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
      table = pa.ipc.open_file(source).read_all()
    return table.rename_columns(table.column_names)  # decodes the names, where the file is named
  except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: no readable Arrow file: {error}") from error


def _light(values: pa.ChunkedArray) -> list[Any]:
  """The values of a column, UNREAD for encoded media."""
  kind = values.type
  if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
    return [UNREAD] * len(values)
  if pa.types.is_struct(kind):
    fields = [(field.name, _light(pc.struct_field(values, field.name))) for field in kind]
    missing = values.is_null().to_pylist()
    return [
      None if missing[i] else {name: column[i] for name, column in fields}
      for i in range(len(values))
    ]
  return values.to_pylist()
