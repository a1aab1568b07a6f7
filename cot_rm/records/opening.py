"""Opens the data files at a path, in any of the formats, and finds the files of a split."""

import glob
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from absl import logging

from cot_rm import file_kinds
from cot_rm.records import compressed, yaml_list
from cot_rm.records.csv_file import CsvFile
from cot_rm.records.json_file import JsonFile
from cot_rm.records.parts import Part, Records, Subset

KINDS = {  # the suffixes of each format; in a folder, a format is looked for after those above it
  "parquet": (".parquet",),
  "arrow": (".arrow",),
  "json": (".jsonl", ".json", ".ndjson"),
  "csv": (".csv", ".tsv"),
  "yaml": (".yaml", ".yml"),
}
DEPTH = 4  # folders below a given one in which data files are looked for
_SPLITS = {  # words in names of files and folders: the split
  "train": "train",
  "training": "train",
  "test": "test",
  "testing": "test",
  "eval": "eval",
  "validation": "val",
  "valid": "val",
  "val": "val",
  "dev": "val",
}
Kind = TypeVar("Kind")
_NO_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


class Found(NamedTuple):
  """The data files at a path."""

  files: list[pathlib.Path]
  splits: tuple[str, ...] = ()  # that the path tells apart; the files are of one


def open(  # pylint: disable=redefined-builtin
  path: str | os.PathLike[str], split: str = "train", *, seed: int = 0
) -> Records:
  """The records at a path.

  Args:
    path: a file; a pattern of files ("data/train-*.parquet"); a folder of shards, searched with its
      subfolders; a folder that datasets.save_to_disk wrote; a YAML list of files.
    split: chosen where the names of a folder's files or subfolders tell splits apart; several are
      joined by a plus. Not used for a file.
    seed: draws the samples of a YAML list.

  Raises:
    FileNotFoundError: nothing is there.
    ValueError: no data file, files of several formats, an unknown split, an unreadable file.
  """
  parts: list[Part] = []
  for name in split.split("+"):
    found = find_files(path, name)
    parts += _parts(found.files, (), seed)
    if not found.splits:
      break
  return Records(parts)


def find_files(path: str | os.PathLike[str], split: str) -> Found:
  """The data files at a path, in natural order; of one split where their names tell splits apart.

  Raises as `open`.
  """
  text = os.fspath(path)
  if os.path.isfile(text):
    if kind_of(pathlib.Path(text)) is None:
      raise ValueError(f"{text}: no data file; known: {', '.join(_suffixes())}")
    return Found([pathlib.Path(text)])
  if glob.has_magic(text) and not os.path.exists(text):
    matches = map(pathlib.Path, glob.glob(text, recursive=True))
    files = sorted((file for file in matches if file.is_file() and kind_of(file)), key=_natural)
    if not files:
      raise FileNotFoundError(f"no data file matches {text}")
    return Found(_of_one_kind(files, text))
  if not os.path.isdir(text):
    raise FileNotFoundError(f"no such file or folder: {text}")
  return _in_folder(pathlib.Path(text), split)


def kind_of(file: pathlib.Path) -> str | None:
  """The format of a file by its suffix; None if it has none of the formats."""
  suffix = compressed.plain_suffix(file)
  return next((kind for kind, suffixes in KINDS.items() if suffix in suffixes), None)


def splits_of(files: Sequence[pathlib.Path], folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """{split: its files} by the names of the files and of their folders; empty if none has one."""
  splits: dict[str, list[pathlib.Path]] = {}
  for file in files:
    parts = [re.split(r"[-_.]", part.lower()) for part in file.relative_to(folder).parts]
    named = [_SPLITS[word] for words in reversed(parts) for word in words if word in _SPLITS]
    if named:
      splits.setdefault(named[0], []).append(file)
  return splits


def no_split(folder: pathlib.Path, split: str, known: Iterable[str]) -> ValueError:
  """The error of a folder without a split."""
  return ValueError(
    f"{folder} has no split {split!r}; it has {', '.join(known)}; choose one by the knob `split` "
    f"beside that of the path (of eval also `val_split`)"
  )


def _in_folder(folder: pathlib.Path, split: str) -> Found:
  if (folder / "dataset_dict.json").exists():  # of datasets.DatasetDict.save_to_disk
    names = _saved_list(folder / "dataset_dict.json", "splits", str)
    if split not in names:
      raise no_split(folder, split, names)
    return Found(_saved(folder / split), tuple(names))
  if (folder / "state.json").exists():  # of datasets.Dataset.save_to_disk
    return Found(_saved(folder))
  files = [file for file in _walk(folder, DEPTH) if kind_of(file) and file.name not in _NO_DATA]
  if not files:
    raise FileNotFoundError(f"{folder} holds no data file ({', '.join(_suffixes())})")
  splits = splits_of(files, folder)
  if splits:
    name = _SPLITS.get(split, split)
    if name not in splits:
      raise no_split(folder, split, splits)
    if unnamed := len(files) - sum(map(len, splits.values())):
      logging.info("%s: %d data files are not named after a split, and not read", folder, unnamed)
    files = splits[name]
  return Found(_of_one_kind(sorted(files, key=_natural), str(folder)), tuple(splits))


def _saved(folder: pathlib.Path) -> list[pathlib.Path]:
  entries = _saved_list(folder / "state.json", "_data_files", dict)
  if _saved_json(folder / "state.json").get("_indices_data_files"):
    raise ValueError(
      f"{folder} was saved with a mapping of its indices; save it again after flatten_indices()"
    )
  return [folder / str(entry.get("filename")) for entry in entries]


def _saved_list(file: pathlib.Path, key: str, kind: type[Kind]) -> list[Kind]:
  """The list under a key of a JSON file of save_to_disk; raises ValueError if it has none."""
  found = _saved_json(file).get(key)
  if not isinstance(found, list) or not all(isinstance(item, kind) for item in found):
    raise ValueError(f"{file}: has no list {key!r}, as datasets.save_to_disk writes it")
  return found


def _saved_json(file: pathlib.Path) -> dict[str, object]:
  """A JSON file of save_to_disk; raises ValueError if it is missing or damaged."""
  if not file.is_file():
    raise FileNotFoundError(f"{file} is missing, which datasets.save_to_disk writes")
  try:
    found = json.loads(file.read_bytes())
  except ValueError as error:
    raise ValueError(f"{file}: not JSON, as datasets.save_to_disk writes it: {error}") from error
  return found if isinstance(found, dict) else {}


def _of_one_kind(files: list[pathlib.Path], where: str) -> list[pathlib.Path]:
  kinds = {kind: [f for f in files if kind_of(f) == kind] for kind in KINDS}
  present = [kind for kind, of_kind in kinds.items() if of_kind]
  if len(present) > 1:
    names = ", ".join(str(of_kind[0]) for of_kind in kinds.values() if of_kind)
    raise ValueError(f"{where} has files of several formats ({names}, ...); name one of them")
  stems = {}
  for file in files:
    if (other := stems.setdefault(file.parent / compressed.stem(file), file)) != file:
      raise ValueError(f"{where} has both {other.name} and {file.name}; name one of them")
  return files


def _parts(
  files: Sequence[pathlib.Path], folders: tuple[pathlib.Path, ...], seed: int
) -> Iterator[Part]:
  row_groups = None
  for file in files:
    kind = kind_of(file)
    if found := _mistaken(file):
      raise ValueError(f"{file}: no data file: it is {found}")
    if kind == "json":
      yield JsonFile(file, folders)
    elif kind == "csv":
      yield CsvFile(file, folders)
    elif kind == "yaml":
      for entry in yaml_list.read(file):
        of_entry = Records(list(_parts([entry.path], entry.folders, seed)))
        yield from _sampled(of_entry, entry, seed)
    elif kind == "parquet":
      from cot_rm.records import parquet_file  # pyarrow is slow to import

      row_groups = row_groups or parquet_file.RowGroups()
      yield parquet_file.ParquetFile(file, folders, row_groups)
    else:
      from cot_rm.records import arrow_file

      yield arrow_file.ArrowFile(file, folders)


def _mistaken(file: pathlib.Path) -> str | None:
  """What a file is instead of the data file that its name promises; None: nothing else."""
  if file.suffix.lower() in compressed.SUFFIXES or not file.is_file():
    return None
  with file.open("rb") as stream:
    return file_kinds.mistaken(stream.read(file_kinds.LOOKED_AT))


def _sampled(records: Records, entry: yaml_list.Entry, seed: int) -> Iterator[Part]:
  chosen = np.asarray(entry.sample(len(records), seed), np.int64)
  start = 0
  for part in records.parts:
    inside = chosen[(chosen >= start) & (chosen < start + len(part))] - start
    yield Subset(part, inside)
    start += len(part)


def _walk(folder: pathlib.Path, depth: int, seen: set[str] | None = None) -> Iterator[pathlib.Path]:
  """The files below a folder, each folder once: a link may lead back to one above it."""
  seen = set() if seen is None else seen
  if (real := os.path.realpath(folder)) in seen:
    return
  seen.add(real)
  with os.scandir(folder) as entries:
    found = sorted(entries, key=lambda entry: entry.name)
  for entry in found:
    if entry.name.startswith("."):
      continue
    if os.path.isdir(entry.path):  # False for a link that leads to itself
      if depth:
        yield from _walk(pathlib.Path(entry.path), depth - 1, seen)
    else:
      yield pathlib.Path(entry.path)


def _suffixes() -> Iterator[str]:
  return (suffix for suffixes in KINDS.values() for suffix in suffixes)


def _natural(file: pathlib.Path) -> list[tuple[int, int | str]]:
  runs = re.split(r"(\d+)", str(file))
  return [(0, int(run)) if run.isdecimal() else (1, run) for run in runs]
