"""Append-only JSONL logs of answers: an interrupted run continues at the end of its file.

A record is one JSON object per line, with the `row` of its example and that example's `id`.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import jax
import numpy as np

from cot_rm.schema import Completion, Example, Judged, Verdict

Record = dict[str, object]


class Progress(Protocol):
  """A progress bar, as metrics.bar makes it."""

  def advance(self, count: int) -> None:
    """Adds `count` finished examples."""


Ask = Callable[[Sequence[Example], Callable[[int], None]], Sequence[Judged]]


@dataclasses.dataclass(frozen=True)
class LoggedJudgement:
  """A judgement read from a log. Only the number of tokens is known: ids are -1, logps NaN."""

  example: Example  # in the order in which it was judged
  completions: tuple[Completion, ...]
  verdicts: tuple[Verdict, ...]


def read(path: str | os.PathLike, examples: Sequence[Example]) -> list[Record]:
  """The records of a file, none if the file does not exist; an incomplete last line is removed.

  Raises:
    ValueError: a line is not JSON, or a record is about another example than that of its row: the
      file belongs to another input.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return []
  with open(path, "rb+") as file:
    content = file.read()
    end = content.rfind(b"\n") + 1
    if end < len(content):
      file.truncate(end)
  records = []
  for number, line in enumerate(content[:end].split(b"\n")[:-1], 1):
    try:
      record = json.loads(line)
    except json.JSONDecodeError as error:
      raise ValueError(
        f"{path}, line {number}: not JSON: {error.msg}; is the file written by cot_rm?"
      ) from error
    row = record["row"]
    expected = repr(examples[row].id) if row < len(examples) else "no such row"
    if repr(record["id"]) != expected:
      raise ValueError(
        f"{path}, row {row}: the record is about {record['id']!r}, the input has {expected}: "
        f"the input has changed; use another --workdir"
      )
    records.append(record)
  return records


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

  Returns:
    (as given, swapped): per example a LoggedJudgement, None if that order is not in `orders`.
  """
  records = {(r["row"], r["order"], r["sample"]): r for r in read(path, examples)}
  wanted = [(row, order) for row, of_row in enumerate(orders) for order in of_row]
  missing = [key for key in wanted if any((*key, i) not in records for i in range(n))]

  def in_order(row: int, order: int) -> Example:
    return examples[row].swapped() if order else examples[row]

  if missing:
    with bar(len(wanted), len(wanted) - len(missing)) as shown:
      for at in range(0, len(missing), step):
        keys = missing[at : at + step]
        judgements = ask([in_order(*key) for key in keys], shown.advance)
        new = {
          (*key, i): _to_record(judgement, *key, i)
          for key, judgement in zip(keys, judgements, strict=True)
          for i in range(n)
          if (*key, i) not in records
        }
        append(path, new.values())
        records |= new
  given: list[LoggedJudgement | None] = [None] * len(examples)
  swapped: list[LoggedJudgement | None] = [None] * len(examples)
  for row, order in wanted:
    judgement = _from_records(in_order(row, order), [records[row, order, i] for i in range(n)])
    (swapped if order else given)[row] = judgement
  return given, swapped


def _to_record(judgement: Judged, row: int, order: int, sample: int) -> Record:
  completion, verdict = judgement.completions[sample], judgement.verdicts[sample]
  return {
    "row": row,
    "order": order,
    "sample": sample,
    "id": judgement.example.id,
    "text": completion.text,
    "answer": verdict.answer,
    "probability": verdict.probability,
    "why_unparsable": verdict.error,
    "tokens": len(completion.tokens),
    "finish": completion.finish,
  }


def _from_records(example: Example, records: Sequence[Record]) -> LoggedJudgement:
  def completion(record: Record) -> Completion:
    count = record["tokens"]
    unknown = np.full(count, -1, np.int32), np.full(count, np.nan)
    return Completion(record["text"], *unknown, record["finish"])

  def verdict(record: Record) -> Verdict:
    return Verdict(
      record["answer"], error=record["why_unparsable"], probability=record["probability"]
    )

  return LoggedJudgement(example, tuple(map(completion, records)), tuple(map(verdict, records)))
