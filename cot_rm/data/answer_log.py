"""Append-only JSONL logs of answers: an interrupted run continues at the end of its file.

A record is one JSON object per line, with the `row` of its example, that example's `id`, and the
`hash` of what was asked.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import jax
import numpy as np
from absl import logging

from cot_rm import files, media
from cot_rm.data import identity
from cot_rm.schema import BadExample, Completion, Example, Judged, Verdict

Record = dict[str, object]


class Progress(Protocol):
  """A progress bar, as metrics.bar makes it."""

  def advance(self, count: int) -> None:
    """Adds `count` finished examples."""


Mark = Callable[[Example], str]  # a hash of what a record depends on
# (examples, progress) -> per example its judgement, or why it cannot be judged.
Ask = Callable[[Sequence[Example], Callable[[int], None]], Sequence[Judged | BadExample]]


@dataclasses.dataclass(frozen=True)
class LoggedJudgement:
  """A judgement read from a log. Only the number of tokens is known: ids are -1, logps NaN.

  Media are not kept: figures are about texts, and the pictures of a data set may be larger than the
  memory.
  """

  row: int  # of the example
  order: int  # 0: as given, 1: with swapped candidates
  example: Example  # in the order in which it was judged, without its media
  completions: tuple[Completion, ...]
  verdicts: tuple[Verdict, ...]


def read(
  path: str | os.PathLike,
  examples: Sequence[Example],
  *,
  mark: Mark = identity.question_hash,
  refetch: bool = False,
) -> list[Record]:
  """The records of a file that answer the examples, by row; none if the file does not exist.

  A record holds for the example of its id whose `mark` it carries as `hash`, wherever in the input
  this example is now. All other records go to a file of the same name in `earlier_folder`, with a
  warning: they are no answers to these examples, and nothing that was paid for is deleted. A record
  without a mark, of an older version, is accepted once by its row and id, and marked. An incomplete
  last line is removed.

  refetch: errors of examples with media on the network are removed: these may be there today.

  Raises:
    ValueError: a line is not JSON.
  """
  path = pathlib.Path(path)
  records = _parse(path)
  matched = _Matches(examples, mark)
  found = [record for record in records if matched.take(record)]
  again = lambda record: "error" in record and _is_fetched(examples[record["row"]])
  kept = [record for record in found if not (refetch and again(record))]
  if (matched.changed or len(kept) < len(found)) and jax.process_index() == 0:
    if matched.others:
      place = earlier_folder(path.parent) / path.name
      logging.warning(
        "%s: %d of %d answers are about examples that the input no longer has in this form (the "
        "first: %r); they are moved to %s, and examples without an answer are asked",
        *(path, len(matched.others), len(records), matched.others[0]["id"], place),
      )
      write(place, matched.others)
    if matched.unmarked:
      logging.warning(
        "%s: %d answers of an older version do not say which example they are about but by its id; "
        "they are taken for answers to the examples of today",
        *(path, matched.unmarked),
      )
    write(path, kept)
  return sorted(kept, key=lambda record: record["row"])


def earlier_folder(folder: str | os.PathLike) -> pathlib.Path:
  """The next folder for answers that hold no more: <folder>/earlier/1, 2, ..., not yet made."""
  root = pathlib.Path(folder) / "earlier"
  numbers = [int(path.name) for path in root.glob("*") if path.name.isdigit()]
  return root / str(max(numbers, default=0) + 1)


def write(path: str | os.PathLike, records: Iterable[Record]) -> None:
  """Writes a log as a whole, in place of an old one; only process 0 writes."""
  if jax.process_index() == 0:
    files.write_atomic(path, "".join(f"{json.dumps(record)}\n" for record in records))


def drop_errors(path: str | os.PathLike) -> int:
  """Removes the records of examples that could not be judged; returns their number."""
  records = _parse(pathlib.Path(path))
  kept = [record for record in records if "error" not in record]
  if len(kept) < len(records):
    write(path, kept)
  return len(records) - len(kept)


def append(path: str | os.PathLike, records: Iterable[Record]) -> None:
  """Appends records and flushes them to disk; only process 0 writes."""
  if jax.process_index() != 0:
    return
  with open(path, "a", encoding="utf-8") as file:
    file.write("".join(f"{json.dumps(record)}\n" for record in records))
    file.flush()
    os.fsync(file.fileno())


def complete(
  path: str | os.PathLike,
  examples: Sequence[Example],
  orders: Sequence[Sequence[int]],
  ask: Ask,
  *,
  n: int,
  step: int,
  bar: Callable[[int, int], AbstractContextManager[Progress]],
  mark: Mark = identity.question_hash,
  left_out: Callable[[str, str], object] | None = None,
) -> tuple[list[LoggedJudgement | None], list[LoggedJudgement | None]]:
  """n answers to each example in each of its orders: logged answers, and the missing ones asked.

  Args:
    path: the file, with one record per answer, by `row`, `order` and `sample`.
    examples: the examples in their given order.
    orders: per example the orders to judge: 0 as given, 1 with swapped candidates.
    ask: `(examples, progress) -> judgements` with n completions and verdicts each, in the same
      order; calls `progress(count)` as answers come. Not called if nothing is missing.
    n: answers per example and order.
    step: examples per call of `ask`; its answers are written before the next call.
    bar: `(total, done) -> context manager` of a progress bar; entered only to ask.
    mark: see `read`.
    left_out: called with (id, reason) of each example that cannot be judged, once its records are
      written; None: the error is raised.

  Returns:
    (as given, swapped): per example a LoggedJudgement, None if that order is not in `orders`. An
    example that cannot be judged in one of its orders has None in both.
  """
  before = read(path, examples, mark=mark, refetch=True)
  records = {(r["row"], r["order"], r["sample"]): r for r in before}
  wanted = [(row, order) for row, of_row in enumerate(orders) for order in of_row]
  missing = [key for key in wanted if any((*key, i) not in records for i in range(n))]
  _tell(records.values(), left_out)

  def in_order(row: int, order: int) -> Example:
    return examples[row].swapped() if order else examples[row]

  if missing:
    with bar(len(wanted), len(wanted) - len(missing)) as shown:
      for at in range(0, len(missing), step):
        keys = missing[at : at + step]
        judgements = ask([in_order(*key) for key in keys], shown.advance)
        new = {
          (*key, i): _to_record(judgement, examples[key[0]], *key, i, mark(examples[key[0]]))
          for key, judgement in zip(keys, judgements, strict=True)
          for i in range(n)
          if (*key, i) not in records
        }
        append(path, new.values())
        records |= new
        _tell(new.values(), left_out)
  failed = {row for (row, _, _), record in records.items() if "error" in record}
  given: list[LoggedJudgement | None] = [None] * len(examples)
  swapped: list[LoggedJudgement | None] = [None] * len(examples)
  for row, order in wanted:
    if row in failed:
      continue
    seen = dataclasses.replace(in_order(row, order), media=())
    judgement = _from_records(row, order, seen, [records[row, order, i] for i in range(n)])
    (swapped if order else given)[row] = judgement
  return given, swapped


def logged(
  path: str | os.PathLike, examples: Sequence[Example], *, mark: Mark = identity.question_hash
) -> tuple[list[LoggedJudgement | None], list[LoggedJudgement | None]]:
  """The first answers of a log to the examples, as they are: nothing is asked, or written.

  Returns:
    (as given, swapped): per example a LoggedJudgement; None where the log has no answer to it.

  Raises:
    ValueError: a line is not JSON.
  """
  matched = _Matches(examples, mark)
  out: tuple[list[LoggedJudgement | None], ...] = ([None] * len(examples), [None] * len(examples))
  for record in _parse(pathlib.Path(path), repair=False):
    if "error" not in record and record["sample"] == 0 and matched.take(record):
      row, order = record["row"], record["order"]
      shown = examples[row].swapped() if order else examples[row]
      out[order][row] = _from_records(row, order, dataclasses.replace(shown, media=()), [record])
  return out


def _is_fetched(example: Example) -> bool:
  """Whether a picture or video of the example is on the network."""

  def of(source: object) -> bool:
    if isinstance(source, Mapping):
      return any(map(of, source.values()))
    if isinstance(source, (list, tuple)):
      return any(map(of, source))
    return isinstance(source, str) and media.is_url(source)

  return any(of(medium.source) for medium in example.media)


class _Matches:
  """Finds the rows of today that records are about."""

  def __init__(self, examples: Sequence[Example], mark: Mark):
    self._examples, self._mark = examples, mark
    self._marks: dict[int, str] = {}
    self._rows: dict[str, list[int]] | None = None  # by id; only if a record is in another row
    self.others: list[Record] = []  # records about no example
    self.unmarked = 0
    self.moved = 0

  @property
  def changed(self) -> bool:
    """Whether the file must be written anew."""
    return bool(self.others or self.unmarked or self.moved)

  def take(self, record: Record) -> bool:
    """Whether an example is the one that the record is about; its row and hash are set."""
    row = record["row"]
    same_id = row < len(self._examples) and self._examples[row].id == record["id"]
    if same_id and "hash" not in record:
      self.unmarked += 1
      record["hash"] = self._mark_of(row)
      return True
    if same_id and self._mark_of(row) == record["hash"]:
      return True
    for other in self._rows_of(record["id"]) if "hash" in record else ():
      if self._mark_of(other) == record["hash"]:
        self.moved += 1
        record["row"] = other
        return True
    self.others.append(record)
    return False

  def _mark_of(self, row: int) -> str:
    if row not in self._marks:
      self._marks[row] = self._mark(self._examples[row])
    return self._marks[row]

  def _rows_of(self, id: str) -> list[int]:
    if self._rows is None:
      self._rows = {}
      for row in range(len(self._examples)):
        self._rows.setdefault(self._examples[row].id, []).append(row)
    return self._rows.get(id, [])


def _parse(path: pathlib.Path, *, repair: bool = True) -> list[Record]:
  """The records of a file in their order, but for an incomplete last line: `repair` removes it."""
  if not path.exists():
    return []
  with open(path, "rb+" if repair else "rb") as file:
    content = file.read()
    end = content.rfind(b"\n") + 1
    if repair and end < len(content):
      file.truncate(end)
  records = []
  for number, line in enumerate(content[:end].split(b"\n")[:-1], 1):
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(
        f"{path}, line {number}: not JSON: {error.msg}; is the file written by cot_rm?"
      ) from error
  return records


def _tell(records: Iterable[Record], left_out: Callable[[str, str], object] | None) -> None:
  """Calls `left_out` for each record of an error; without it the first one is raised."""
  for record in records:
    if "error" in record:
      if left_out is None:
        raise BadExample(record["error"])
      left_out(record["id"], record["error"])


def _to_record(
  judgement: Judged | BadExample, example: Example, row: int, order: int, sample: int, mark: str
) -> Record:
  of = {"row": row, "order": order, "sample": sample, "id": example.id, "hash": mark}
  if isinstance(judgement, BadExample):
    return {**of, "error": str(judgement)}
  completion, verdict = judgement.completions[sample], judgement.verdicts[sample]
  return {
    **of,
    "text": completion.text,
    "answer": verdict.answer,
    "probability": verdict.probability,
    "label_mass": verdict.label_mass,
    "label_top": verdict.label_top,
    "why_unparsable": verdict.error,
    "tokens": len(completion.tokens),
    "finish": completion.finish,
  }


def _from_records(
  row: int, order: int, example: Example, records: Sequence[Record]
) -> LoggedJudgement:
  def completion(record: Record) -> Completion:
    unknown = (np.broadcast_to(value, record["tokens"]) for value in (np.int32(-1), np.nan))
    return Completion(record["text"], *unknown, record["finish"])

  def verdict(record: Record) -> Verdict:
    return Verdict(
      record["answer"],
      error=record["why_unparsable"],
      probability=record["probability"],
      label_mass=record.get("label_mass"),  # None: of an older version
      label_top=record.get("label_top"),
    )

  answers = tuple(map(completion, records)), tuple(map(verdict, records))
  return LoggedJudgement(row, order, example, *answers)
