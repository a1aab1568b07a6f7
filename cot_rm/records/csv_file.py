"""Records of a CSV or TSV file with a header; values are text."""

import csv
import io
import mmap
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from cot_rm.records.compressed import Plain
from cot_rm.records.parts import Part
from cot_rm.schema import BadRecord

_DELIMITERS = ",\t;|"
_BREAK = 10  # the byte of a line feed


class CsvFile(Part):
  """The rows of a CSV file; the delimiter is the most frequent one of the header."""

  unit = "row"

  def __init__(self, path: pathlib.Path, folders: Sequence[pathlib.Path] = ()):
    super().__init__(path, folders)
    self._plain = Plain(path)
    with self._plain.open() as file:
      header = file.readline().decode("utf-8-sig", errors="replace")
      self._delimiter = max(_DELIMITERS, key=header.count)
      starts = _row_starts(file, self._delimiter.encode())
      self._starts_N, self._ends_N = starts[:-1], starts[1:]
    csv.field_size_limit(sys.maxsize)  # a field may hold a picture as base64
    names = self._row(0, f"{path}, header") if len(self._starts_N) else []
    self.fields = [name.lstrip("\ufeff").strip() for name in names]
    self._starts_N, self._ends_N = self._starts_N[1:], self._ends_N[1:]

  def __len__(self) -> int:
    return len(self._starts_N)

  def read(self, index: int) -> object:
    values = self._row(index, self.where(index))
    if len(values) != len(self.fields):
      raise BadRecord(
        f"{self.where(index)}: {len(values)} values, and the header has {len(self.fields)} names"
      )
    return dict(zip(self.fields, values, strict=True))

  def _row(self, index: int, where: str) -> list[str]:
    start, end = int(self._starts_N[index]), int(self._ends_N[index])
    with self._plain.open() as file:
      file.seek(start)
      content = file.read(end - start)
    try:
      text = io.StringIO(content.decode("utf-8"), newline="")
      return next(csv.reader(text, delimiter=self._delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
      raise BadRecord(f"{where}: not CSV: {error}") from error


def _row_starts(file: BinaryIO, delimiter: bytes) -> np.ndarray:
  """i64[rows + 1]: the offset of each row that is not blank, and the end of the file.

  A line break within quotes does not end a row; quotes count only at the start of a field.
  """
  if not (size := file.seek(0, 2)):
    return np.zeros(1, np.int64)
  mark = re.escape(delimiter)
  token = re.compile(rb"(?:\A|(?<=[\n\r" + mark + rb']))"[^"]*+(?:""[^"]*+)*+"|\n')
  with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
    ends = [found.end() for found in token.finditer(content) if content[found.start()] == _BREAK]
    if not ends or ends[-1] < size:
      ends.append(size)
    rows = zip([0, *ends[:-1]], ends, strict=True)
    starts = [start for start, end in rows if content[start:end].strip()]
  return np.array([*starts, size], np.int64)
