"""Opens the examples at a path: a JSONL file, or splits of an ArrayRecord folder."""

import dataclasses
import pathlib

from cot_rm.data import array_record, jsonl


@dataclasses.dataclass(frozen=True)
class Joined:
  """Several sources one after the other: a sequence, and a source for grain."""

  parts: tuple

  def __len__(self):
    return sum(map(len, self.parts))

  def __getitem__(self, index):
    for part in self.parts:
      if index < len(part):
        return part[index]
      index -= len(part)
    raise IndexError(f"no example {index + len(self)} of {len(self)}")


def open(path, split):  # pylint: disable=redefined-builtin
  """The examples at a path: a JSONL file, whole, or of an ArrayRecord folder; len() and [index].

  split: of the folder; several with a plus between ("kept+failed") are read in that order.

  Raises FileNotFoundError or ValueError, naming the path, where there is nothing to read.
  """
  path = pathlib.Path(path)
  if path.suffix in (".jsonl", ".json"):
    return list(jsonl.read(path))
  parts = tuple(array_record.open(path, name) for name in split.split("+"))
  return Joined(parts) if len(parts) > 1 else parts[0]


def first(source, count):
  """The first `count` examples of a source, fewer where it has no more."""
  return [source[i] for i in range(min(count, len(source)))]
