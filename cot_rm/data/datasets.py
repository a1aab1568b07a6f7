"""Opens the examples at a path: a JSONL file, or splits of an ArrayRecord folder."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from cot_rm import files
from cot_rm.data import array_record, identity, jsonl
from cot_rm.schema import Example


@dataclasses.dataclass(frozen=True)
class Concatenated(Sequence[Example]):
  """Several sources one after the other: a sequence, and a source for grain."""

  sources: tuple[Sequence[Example], ...]

  def __len__(self) -> int:
    return sum(map(len, self.sources))

  def __getitem__(self, index: int) -> Example:
    for source in self.sources:
      if index < len(source):
        return source[index]
      index -= len(source)
    raise IndexError(f"no example {index + len(self)} of {len(self)}")

  def __iter__(self) -> Iterator[Example]:
    for source in self.sources:
      yield from source

  def identity(self) -> str:
    """A hash of all sources in their order."""
    return files.digest(*(identity.source_hash(source).encode() for source in self.sources))


def open(  # pylint: disable=redefined-builtin
  path: str | os.PathLike, split: str
) -> Sequence[Example]:
  """The examples at a path: all of a JSONL file, or splits of an ArrayRecord folder.

  Args:
    path: the file or folder.
    split: a split of the folder, or several with a plus between ("kept+failed"), read in that
      order. Not used for a file.

  Raises FileNotFoundError or ValueError, naming the path, if there is nothing to read.
  """
  path = pathlib.Path(path)
  if path.suffix in (".jsonl", ".json"):
    examples = list(jsonl.read(path))
    if not examples:
      raise ValueError(f"{path}: there are no examples in it")
    return examples
  sources = tuple(array_record.open(path, name) for name in split.split("+"))
  return Concatenated(sources) if len(sources) > 1 else sources[0]


def first(source: Sequence[Example], count: int) -> list[Example]:
  """The first `count` examples of a source, or all if it has fewer."""
  return [source[i] for i in range(min(count, len(source)))]
