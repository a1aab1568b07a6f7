"""Records of one file, and of several files one after the other, by index."""

import abc
import bisect
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from cot_rm.schema import BadRecord

Record = dict[str, Any]
Element = TypeVar("Element")
Whole = TypeVar("Whole", bound=Sequence)

# Stands for encoded media in a record that `Part.skim` yields.
UNREAD = b"unread"


class Part(Sequence[Record], abc.ABC):
  """The records of one file.

  Args:
    path: of the file.
    folders: where media with relative paths may be, besides the file's own folder.
  """

  unit = "record"  # in `where`, counted from 0; lines of text are counted from 1

  def __init__(self, path: pathlib.Path, folders: Sequence[pathlib.Path] = ()):
    self.path, self.folders = path, tuple(folders)

  @abc.abstractmethod
  def __len__(self) -> int:
    """The number of records, bad ones included."""

  @abc.abstractmethod
  def read(self, index: int) -> object:
    """The value at an index from 0; raises BadRecord, which begins with `where`."""

  def __getitem__(self, index: int) -> Record:
    if not -len(self) <= index < len(self):
      raise IndexError(f"{self.path}: no record {index} of {len(self)}")
    return self.checked(self.read(index % len(self)), index)

  def __iter__(self) -> Iterator[Record]:
    return map(self.__getitem__, range(len(self)))

  def checked(self, value: object, index: int) -> Record:
    """The value, if it is an object; raises BadRecord if not."""
    if not isinstance(value, dict):
      raise BadRecord(f"{self.where(index)}: must be an object, not {type(value).__name__}")
    return value

  def skim(self) -> Iterator[Record | BadRecord]:
    """Each record in order, or what is wrong with it; encoded media may be UNREAD.

    Where the format has columns, the media are not read.
    """
    for index in range(len(self)):
      try:
        yield self[index]
      except BadRecord as error:
        yield error

  def where(self, index: int) -> str:
    """The file and the number of the record, for error messages."""
    return f"{self.path}, {self.unit} {index % len(self)}"


class Subset(Part):
  """Some records of a part, in a given order."""

  def __init__(self, part: Part, indices: Sequence[int], folders: Sequence[pathlib.Path] = ()):
    super().__init__(part.path, (*folders, *part.folders))
    self._part, self._indices = part, np.asarray(indices, np.int64)

  def __len__(self) -> int:
    return len(self._indices)

  def read(self, index: int) -> object:
    return self._part.read(int(self._indices[index]))

  def skim(self) -> Iterator[Record | BadRecord]:
    if np.array_equal(self._indices, np.arange(len(self._part))):
      return self._part.skim()
    return super().skim()

  def where(self, index: int) -> str:
    return self._part.where(int(self._indices[index]))


class Joined(Sequence[Element], Generic[Element, Whole]):
  """Several sequences one after the other."""

  def __init__(self, parts: Iterable[Whole]):
    self.parts = tuple(parts)
    self._ends = list(itertools.accumulate(len(part) for part in self.parts))

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: int) -> Element:
    part, inside = self.locate(index)
    return part[inside]

  def __iter__(self) -> Iterator[Element]:
    return itertools.chain.from_iterable(self.parts)

  def locate(self, index: int) -> tuple[Whole, int]:
    """(the part, the index in it) of an element; raises IndexError."""
    if not -len(self) <= index < len(self):
      raise IndexError(f"no element {index} of {len(self)}")
    index %= len(self)
    number = bisect.bisect_right(self._ends, index)
    return self.parts[number], index - (self._ends[number - 1] if number else 0)


class Records(Joined[Record, Part]):
  """The records of several files one after the other."""

  def where(self, index: int) -> str:
    """The file and the number of the record, for error messages."""
    part, inside = self.locate(index)
    return part.where(inside)
