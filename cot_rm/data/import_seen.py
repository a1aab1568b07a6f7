"""The examples that an import has taken: their ids and contents, and which are for validation."""

import collections
import pathlib

import numpy as np

from cot_rm import files
from cot_rm.data import array_record, import_checks


class Validation:
  """Decides which examples are for validation: one group of every `every`, at random.

  Examples of one group (see import_checks.group_of) are in one split, so that no validation pair
  is about a picture or caption that is trained on.

  Args:
    share: below 1 the share of the groups; from 1 on about this many examples; 0: none.
    total: examples of all sources.
    seed: of the choice.
  """

  def __init__(self, share: float, *, total: int, seed: int):
    if share < 0 or share >= max(total, 1):
      raise ValueError(
        f"val is {share:g}; it must be a share below 1, or fewer than the {total:,} examples"
      )
    wanted = share if share < 1 else share / total
    self._every, self._seed = round(1 / wanted) if wanted else 0, seed
    self._groups: dict[int, bool] = {}

  def __call__(self, group: int) -> bool:
    """Whether the examples of a group are for validation."""
    if not self._every:
      return False
    if group not in self._groups:
      block, at = divmod(len(self._groups), self._every)
      # The first group of all, so that a small data set has a validation pair, too.
      chosen = block and np.random.default_rng((self._seed, block)).integers(self._every)
      self._groups[group] = at == chosen
    return self._groups[group]


class Seen:
  """Ids, contents and groups of the examples taken so far, as numbers.

  They are in a file, too, from which a resumed import reads them again.
  """

  def __init__(self, path: pathlib.Path, count: int, validation: Validation):
    self._path, self._validation = path, validation
    self._new: list[tuple[int, ...]] = []  # not in the file yet
    saved = np.fromfile(path, np.uint64) if path.exists() else np.empty(0, np.uint64)
    if len(saved) < 3 * count:
      raise ValueError(f"{path} is damaged: remove the folder, and import again")
    rows_N3 = saved[: 3 * count].reshape(-1, 3)
    self._ids, self._marks = set(rows_N3[:, 0].tolist()), set(rows_N3[:, 1].tolist())
    for group in rows_N3[:, 2].tolist():
      validation(group)
    self._repeats: collections.Counter[str] = collections.Counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
      file.truncate(rows_N3.nbytes)

  def has_id(self, id: str) -> bool:
    """Whether an example of this id has been taken."""
    return _number(files.digest(id.encode())) in self._ids

  def has_example(self, example: array_record.Stored) -> bool:
    """Whether an example of the same id and content has been taken."""
    return _number(example.mark) in self._marks

  def free_id(self, id: str) -> str:
    """The first of id#2, id#3, ... that no example has."""
    while True:
      self._repeats[id] += 1
      if not self.has_id(new := f"{id}#{self._repeats[id] + 1}"):
        return new

  def add(self, example: import_checks.Taken) -> bool:
    """Adds an example; returns whether it is for validation."""
    names = files.digest(example.id.encode()), example.stored.mark, example.group
    row = tuple(map(_number, names))
    self._ids.add(row[0])
    self._marks.add(row[1])
    self._new.append(row)
    return self._validation(row[2])

  def save(self) -> None:
    """Appends what is new to the file."""
    with self._path.open("ab") as file:
      file.write(np.asarray(self._new, np.uint64).tobytes())
    self._new = []


def _number(digest: str) -> int:
  return int(digest, 16)
