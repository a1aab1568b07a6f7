"""YAML lists of data files, as LLaVA and UnifiedReward train from them, with a sample of each.

datasets:
  - json_path: pairs.json
    image_folder: images
    sampling_strategy: random:10%      # or all, first:N, end:N; N a number or a share
"""

import math
import pathlib
import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

_STRATEGY = re.compile(r"(first|end|random)[:_](\d+(?:\.\d+)?)(%?)")
_PATHS = ("json_path", "data_path", "path", "annotation")
_FOLDERS = ("image_folder", "video_folder", "data_root", "media_folder")


class Entry(NamedTuple):
  """One file of a list."""

  path: pathlib.Path
  folders: tuple[pathlib.Path, ...]  # of its media
  strategy: str
  where: str

  def sample(self, size: int, seed: int) -> list[int]:
    """The indices of the records to take of `size`, in order; "random" draws by the seed.

    A share is rounded up. Raises ValueError on an unknown strategy.
    """
    strategy = self.strategy.strip().lower()
    if strategy == "all":
      return list(range(size))
    match = _STRATEGY.fullmatch(strategy)
    if not match:
      raise ValueError(
        f"{self.where}: unknown sampling_strategy {self.strategy!r}; known: all, first:N, end:N, "
        f"random:N, where N is a number or a share such as 10%"
      )
    number = float(match[2])
    count = min(size, math.ceil(number * size / 100) if match[3] else int(number))
    if match[1] == "first":
      return list(range(count))
    if match[1] == "end":
      return list(range(size - count, size))
    return sorted(random.Random(f"{seed}:{self.path.name}").sample(range(size), count))


def read(path: pathlib.Path) -> Iterator[Entry]:
  """The entries of a list; paths are relative to its folder, or to one above it.

  Raises ValueError naming the file if it is no such list, FileNotFoundError for a missing file.
  """
  try:
    content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
  except (yaml.YAMLError, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: not YAML: {error}") from error
  entries = content.get("datasets") if isinstance(content, dict) else content
  if not isinstance(entries, list) or not entries:
    raise ValueError(f"{path}: must have a list of files under 'datasets'")
  for number, entry in enumerate(entries):
    where = f"{path}, datasets[{number}]"
    name = _first(entry, _PATHS, where)
    if not name:
      raise ValueError(f"{where}: needs a json_path")
    folders = [str(entry[key]) for key in _FOLDERS if entry.get(key)]
    file = _existing(path.parent, name)
    if file is None:
      raise FileNotFoundError(f"{where}: no such file: {path.parent / name}")
    yield Entry(
      file,
      tuple(_existing(path.parent, folder) or path.parent / folder for folder in folders),
      str(entry.get("sampling_strategy") or "all"),
      where,
    )


def _first(entry: Any, keys: tuple[str, ...], where: str) -> str | None:
  if not isinstance(entry, dict):
    raise ValueError(
      f"{where}: must have a json_path and, if wanted, image_folder and "
      f"sampling_strategy; not {entry!r}"
    )
  return next((str(entry[key]) for key in keys if entry.get(key)), None)


def _existing(folder: pathlib.Path, name: str) -> pathlib.Path | None:
  return next(
    (
      base / name
      for base in (folder, *list(folder.absolute().parents)[:2])
      if (base / name).exists()
    ),
    None,
  )
