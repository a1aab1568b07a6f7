"""The examples of published records, by index; records are read when an example is asked for.

N examples, G groups of records: a group is one record, or those that are compared with each other.
"""

import array
import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from cot_rm.data import bad_examples
from cot_rm.data.datasets import media_files, pair
from cot_rm.data.datasets.row import Options, Row, file_stem
from cot_rm.records import Part, Record
from cot_rm.schema import BadExample, BadRecord, Example

ENOUGH = 10_000  # bad records beyond the limit, after which no more are read
SHOWN = 20  # data sets or reasons in a log message


class Index(NamedTuple):
  """Which comparison of which record each example is."""

  groups_N: np.ndarray  # i64
  numbers_N: np.ndarray  # i32, of the comparison within its group
  ids_N: np.ndarray  # u64, the hash of its id


@dataclasses.dataclass
class Counts:
  """What was found in the records of a source."""

  records: int = 0
  examples: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  bad: list[str] = dataclasses.field(default_factory=list)  # what is wrong, with its place
  repeated: int = 0  # ids that came before
  text_alone: int = 0  # examples about no picture and no video


class Published(Sequence[Example]):
  """The examples of one data file as an adapter reads them: a sequence, and a source for grain.

  Opening it reads each record without its media, to count its comparisons: once, or twice where
  records are compared with each other.

  Args:
    part: the records.
    adapter: the module that reads them.
    name: of the adapter.
    seed: draws which candidate is shown first, where the data do not say it.
    options: see `row.Options`.
    max_bad: records that may be wrong; when far more are, reading stops.

  Raises TooManyBad if it has stopped.
  """

  def __init__(
    self,
    part: Part,
    adapter: pair.Adapter,
    name: str,
    *,
    seed: int,
    options: Options,
    max_bad: int = 0,
  ):
    self._part, self._adapter, self.name = part, adapter, name
    self._most_bad = max_bad + ENOUGH
    self._seed, self._options = seed, options
    self._files = media_files.MediaFiles(part.path, part.folders)
    self.keeps_ids = getattr(adapter, "KEEPS_IDS", False)
    self.counts = Counts(records=len(part))
    self._groups, self._index = self._read_all()
    self._repeats: dict[int, int] = {}  # {example: how often its id came before}

  def __len__(self) -> int:
    return len(self._index.groups_N)

  def __getitem__(self, index: int) -> Example:
    if not -len(self) <= index < len(self):
      raise IndexError(f"no example {index} of {len(self)}")
    index %= len(self)
    group, number = int(self._index.groups_N[index]), int(self._index.numbers_N[index])
    numbers = self._groups[group] if self._groups is not None else [group]
    row = _grouped([self._row(self._part[i], i, self._files) for i in numbers])
    found = [one for one in self._adapter.pairs(row) if not isinstance(one, pair.LeftOut)]
    if number >= len(found):
      raise BadRecord(f"{row.where}: has changed since it was opened")
    repeat = self._repeats.get(index, 0)
    id = _ids(row, found)[number] + (f"#{repeat + 1}" if repeat else "")
    return self._example(row, found[number], id)

  def __iter__(self) -> Iterator[Example]:
    return map(self.__getitem__, range(len(self)))

  def repeated_ids(self, count: int) -> list[str]:
    """The first `count` ids that came before, without reading media."""
    out = []
    for index in itertools.islice(sorted(self._repeats), count):
      group = int(self._index.groups_N[index])
      numbers = self._groups[group] if self._groups is not None else [group]
      row = _grouped([self._row(self._part[i], i, None) for i in numbers])
      found = [one for one in self._adapter.pairs(row) if not isinstance(one, pair.LeftOut)]
      out.append(_ids(row, found)[int(self._index.numbers_N[index])])
    return out

  def _row(self, record: Record, number: int, files: media_files.MediaFiles | None) -> Row:
    return Row(
      record=record,
      where=self._part.where(number),
      name=f"{file_stem(self._part.path)}-{number}",
      path=self._part.path,
      files=files,
      options=self._options,
    )

  def _example(self, row: Row, one: pair.Pair | Example, id: str) -> Example:
    if isinstance(one, Example):
      return dataclasses.replace(one, id=id) if id != one.id else one
    return pair.to_example(one, id, self.name, self._seed, row.where)

  def _read_all(self) -> tuple[list[list[int]] | None, Index]:
    groups_N, numbers_N, ids_N = array.array("q"), array.array("i"), array.array("Q")
    groups: list[list[int]] | None = None
    rows: Iterator[tuple[int, Row | BadExample]] = self._skimmed()
    if key := getattr(self._adapter, "group", None):
      groups, bad = self._groups_of(rows, key)
      rows = itertools.chain(bad, self._as_one(groups))
    for group, row in rows:
      for number, found in enumerate(self._comparisons(row)):
        self.counts.examples[found.source] += 1
        groups_N.append(group)
        numbers_N.append(number)
        ids_N.append(_hash(found.id))
    index = Index(
      np.array(groups_N, np.int64), np.array(numbers_N, np.int32), np.array(ids_N, np.uint64)
    )
    return groups, index

  def _comparisons(self, row: Row | BadExample) -> list[Example]:
    """The examples of a row without their media; counts those that are left out."""
    if isinstance(row, BadExample):
      return self._bad(row)
    try:
      every = list(self._adapter.pairs(row))
      found = [one for one in every if not isinstance(one, pair.LeftOut)]
      out = [self._example(row, *two) for two in zip(found, _ids(row, found), strict=True)]
    except BadExample as error:
      return self._bad(error)
    self.counts.text_alone += sum(not one.media for one in out)
    self.counts.left_out.update(o.reason for o in every if isinstance(o, pair.LeftOut))
    return out

  def _bad(self, error: BadExample) -> list[Example]:
    self.counts.bad.append(str(error))
    if len(self.counts.bad) > self._most_bad:
      raise bad_examples.too_many(self.counts.bad, self._most_bad - ENOUGH)
    return []

  def _skimmed(self) -> Iterator[tuple[int, Row | BadRecord]]:
    for number, record in enumerate(self._part.skim()):
      if isinstance(record, BadRecord):
        yield number, record
      else:
        yield number, self._row(record, number, None)
      if number and number % 200_000 == 0:
        logging.info("%s: %s of %s records read", self._part.path, number, len(self._part))

  def _groups_of(
    self, rows: Iterator[tuple[int, Row | BadExample]], key: Callable[[Row], Hashable]
  ) -> tuple[list[list[int]], list[tuple[int, BadExample]]]:
    """(the numbers of the records of each group, the bad records)."""
    members: dict[Hashable, list[int]] = {}
    bad = []
    for number, row in rows:
      try:
        if isinstance(row, BadExample):
          raise row
        members.setdefault(key(row), []).append(number)
      except BadExample as error:
        bad.append((number, error))
    return list(members.values()), bad

  def _as_one(self, groups: Sequence[Sequence[int]]) -> Iterator[tuple[int, Row]]:
    """(number of the group, its rows as one) where a second look comes to its last record."""
    of_record = {number: group for group, numbers in enumerate(groups) for number in numbers}
    begun: dict[int, list[Row]] = {}
    for number, row in self._skimmed():
      if isinstance(row, BadRecord) or number not in of_record:
        continue
      group = of_record[number]
      begun.setdefault(group, []).append(row)
      if number == groups[group][-1]:
        yield group, _grouped(begun.pop(group))


def number_repeats(sources: Sequence[Published]) -> None:
  """Tells the sources which of their ids came before: the example's id gets "#2", "#3", ...

  In our own files an id that comes twice is a fault of the file, and stays.
  """
  sources = [source for source in sources if not source.keeps_ids]
  if not sources:
    return
  ids_N = np.concatenate([source._index.ids_N for source in sources])
  order = np.argsort(ids_N, kind="stable")
  again = np.flatnonzero(ids_N[order][1:] == ids_N[order][:-1]) + 1  # in `order`
  counts: dict[int, int] = {}
  starts = np.cumsum([0, *(len(source) for source in sources)])
  for place in again:
    example, before = int(order[place]), int(order[place - 1])
    counts[example] = counts.get(before, 0) + 1
    number = int(np.searchsorted(starts, example, side="right")) - 1
    sources[number]._repeats[example - int(starts[number])] = counts[example]
    sources[number].counts.repeated += 1


def _grouped(rows: Sequence[Row]) -> Row:
  """The rows of a group as one."""
  return dataclasses.replace(rows[0], group=rows)


def _hash(id: str) -> int:
  data = id.encode("utf-8", "surrogatepass")
  return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _ids(row: Row, found: Sequence[pair.Pair | Example]) -> list[str]:
  """The ids of comparisons: their own, or that of the record with a number where it has several."""
  counts = collections.Counter(one.id for one in found)
  return [
    one.id
    if one.id and counts[one.id] == 1
    else f"{one.id or row.name}{f'-{number}' if len(found) > 1 else ''}"
    for number, one in enumerate(found)
  ]


def left_out(sources: Sequence[Published]) -> str:
  """What was left out, in words: "3 left out: tie, 1 left out: bad record"."""
  reasons: collections.Counter[str] = collections.Counter()
  for source in sources:
    reasons.update(source.counts.left_out)
    reasons["bad record"] += len(source.counts.bad)
  return ", ".join(f"{n:,} left out: {why}" for why, n in reasons.most_common(SHOWN) if n)


def log(what: str, sources: Sequence[Published]) -> None:
  """Says in the log what was read and what was left out, with the numbers."""
  names = dict.fromkeys(source.name for source in sources)
  for name in names:
    of_name = [source.counts for source in sources if source.name == name]
    records = sum(counts.records for counts in of_name)
    examples: collections.Counter[str] = collections.Counter()
    left_out: collections.Counter[str] = collections.Counter()
    for counts in of_name:
      examples.update(counts.examples)
      left_out.update(counts.left_out)
    bad = sum(len(counts.bad) for counts in of_name)
    files = f"{len(of_name):,} file{'s' if len(of_name) != 1 else ''}"
    lines = [
      f"{what}: read as {name} ({files}, {records:,} records): {examples.total():,} examples"
    ]
    if len(examples) > 1:
      lines += [f"  {count:>9,}  from {source}" for source, count in examples.most_common(SHOWN)]
    lines += [f"  {count:>9,}  left out: {reason}" for reason, count in left_out.most_common(SHOWN)]
    if bad:
      lines.append(f"  {bad:>9,}  left out: bad records")
    if text_alone := sum(counts.text_alone for counts in of_name):
      lines.append(f"  {text_alone:>9,}  about no picture and no video: text alone")
    if repeated := sum(counts.repeated for counts in of_name):
      lines.append(f"  {repeated:>9,}  with an id that came before: called id#2, id#3, ...")
    logging.info("%s", "\n".join(lines))
