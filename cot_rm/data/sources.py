"""Where examples come from: each entry is a function that yields Examples."""

import difflib
import pathlib

from cot_rm.data import jsonl, shapes, store

SOURCES = {
  "shapes": shapes.examples,  # (world, split, *, seed, start, count)
  "jsonl": jsonl.read,  # (path)
}


def get(name):
  """The source of this name. Raises ValueError naming the known ones."""
  if name not in SOURCES:
    near = difflib.get_close_matches(name, SOURCES, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown source {name!r}; known: {', '.join(SOURCES)}{hint}")
  return SOURCES[name]


def open(path, split):  # pylint: disable=redefined-builtin
  """The examples at a path: a JSONL file, or a split of an ArrayRecord folder; len() and [index].

  Raises FileNotFoundError or ValueError, naming the path, where there is nothing to read.
  """
  path = pathlib.Path(path)
  if path.suffix in (".jsonl", ".json"):
    return list(jsonl.read(path))
  return store.open(path, split)


def first(source, count):
  """The first `count` examples of a source, fewer where it has no more."""
  return [source[i] for i in range(min(count, len(source)))]
