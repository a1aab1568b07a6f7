"""Reads the records of a public benchmark as its owners publish them, and finds its pictures."""

import glob
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from absl import logging

from cot_rm import media, records
from cot_rm.schema import BadExample, BadMedia, BadRecord, Example, Media

Record = Mapping[str, object]


def find_files(
  root: str | pathlib.Path, patterns: Sequence[str], benchmark: str
) -> list[pathlib.Path]:
  """The files of the first pattern under `root` that matches any, sorted; or `root`, if a file.

  Raises:
    FileNotFoundError: no pattern matches; they are named.
  """
  return sorted(map(pathlib.Path, glob.glob(find_pattern(root, patterns, benchmark))))


def find_pattern(
  root: str | pathlib.Path,
  patterns: Sequence[str],
  benchmark: str,
  knob: str = "config.eval.data",
) -> str:
  """The first pattern under `root` that matches a file, as a path for glob; of a file the file.

  Raises:
    FileNotFoundError: no pattern matches; the patterns and the knob are named.
  """
  base = glob.escape(str(root))
  if os.path.isfile(root):
    return base
  for pattern in patterns:
    if glob.glob(found := os.path.join(base, pattern)):
      return found
  fault = "holds none of" if os.path.exists(root) else "does not exist; it must hold one of"
  raise FileNotFoundError(
    f"{benchmark}: {str(root)!r} {fault} {', '.join(patterns)}; root ({knob}) is the folder "
    "into which its owners' files were downloaded, or one of these files"
  )


def warn_of_size(benchmark: str, found: int, sizes: Mapping[str, range]) -> None:
  """Logs a warning if the number of pairs is none that is known: figures are not comparable.

  Args:
    benchmark: its name.
    found: number of pairs.
    sizes: {of which files: the number of pairs, or about}.
  """
  if not any(found in size for size in sizes.values()):
    known = ", ".join(
      f"{size.start:,}{f' to {size.stop - 1:,}' if len(size) > 1 else ''} ({which})"
      for which, size in sizes.items()
    )
    logging.warning("%s: found %s pairs; known are %s", benchmark, f"{found:,}", known)


class Pairs(Sequence[Example]):
  """The pairs of a benchmark in the order of its rows; reading one at fault raises BadExample."""

  def __init__(self, found: Iterable[Example | BadExample]):
    self._found = [*found]

  @classmethod
  def joined(cls, parts: Iterable["Pairs"]) -> "Pairs":
    """The pairs of several files in one sequence."""
    return cls(pair for part in parts for pair in part._found)

  def __len__(self) -> int:
    return len(self._found)

  def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices
    found = self._found[index]
    if isinstance(found, BadExample):
      raise found
    return found


def read_pairs(
  paths: Iterable[pathlib.Path], make: Callable[[int, Record, pathlib.Path, str], Example]
) -> Pairs:
  """The pairs of the records of some files.

  Args:
    paths: of the files, which `records.open` reads.
    make: `(row over all files, record, path of its file, where) -> pair`; `where` names the record
      for errors. A BadExample that it raises stands for the pair.
  """
  found: list[Example | BadExample] = []
  for path in paths:
    opened = records.open(path)
    for index in range(len(opened)):
      try:
        found.append(make(len(found), opened[index], path, opened.where(index)))
      except BadExample as error:
        found.append(error)
  return Pairs(found)


def text_field(record: Record, name: str, where: str) -> str:
  """A field that must hold text. Raises BadRecord naming row and field."""
  value = record.get(name)
  if not isinstance(value, str) or not value.strip():
    raise BadRecord(f"{where}, field {name!r}: must be text, not {repr(value)[:80]}")
  return value


def first_existing(paths: Sequence[pathlib.Path], where: str) -> pathlib.Path:
  """The first path that exists. Raises BadMedia, which begins with `where`, naming all paths."""
  for path in paths:
    if media.exists(path):
      return path
  looked = ", ".join(map(str, paths))
  raise BadMedia(f"{where}: no such picture or folder of frames: {looked[:400]}")


def picture(value: object, folders: Sequence[pathlib.Path], where: str) -> Media:
  """The Media of a picture.

  Args:
    value: a path under one of the folders, a URL, base64, or {"bytes": ..., "path": ...}.
    folders: searched in order.
    where: begins errors: the row and the field.

  Raises BadMedia.
  """
  name = media.unwrapped(value, name=where) if isinstance(value, dict) else value
  if isinstance(name, bytes):
    return Media("image", name)
  if not isinstance(name, str) or not name:
    raise BadMedia(f"{where}: must be a picture's path or bytes, not {str(name)[:80]!r}")
  if not media.is_path(name):
    return Media("image", name)
  name = str(media.local_path(name, name=where))
  return Media("image", str(first_existing([folder / name for folder in folders], where)))
