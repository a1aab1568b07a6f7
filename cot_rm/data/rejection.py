"""Rejection sampling: the accepted samples of a pool of pairs, the hard pairs, and statistics.

Correct samples are accepted, up to a number per pair; a pair without a correct sample is hard.
"""

import collections
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from cot_rm.data import distillation, identity
from cot_rm.data.answer_log import Record
from cot_rm.schema import BadExample, Example, Judged


class PairPool(Sequence[Example]):
  """Labelled pairs in the order in which the policy judges them; a sequence of Examples."""

  def __init__(
    self,
    source: Sequence[Example],
    *,
    count: int = 0,
    tasks: Collection[str] = (),
    seed: int = 0,
    left_out: distillation.LeftOut | None = None,
  ):
    """Draws the pairs as distillation.sample_pairs does: golds are half 1 and half 2."""
    self._source = source
    self._pairs = distillation.sample_pairs(
      source, count=count, tasks=tasks, seed=seed, left_out=left_out
    )

  def __len__(self) -> int:
    return len(self._pairs)

  def __getitem__(self, row: int) -> Example:
    return distillation.shown_example(self._source, self._pairs[row])

  def task(self, row: int) -> str:
    """The task of a pair, without reading it again."""
    return self._pairs[row].task

  def swapped(self, row: int) -> bool:
    """Whether the candidates are shown in the other order than in the source."""
    return self._pairs[row].swapped


def mark(example: Example) -> str:
  """Hash of what a sample and its correctness depend on: the question and the gold answer."""
  return f"{identity.question_hash(example)}-{example.gold}"


def to_records(
  judgements: Sequence[Judged], correct_QG: np.ndarray, *, rows: Sequence[int]
) -> list[Record]:
  """A record per sample, for answer_log.

  Args:
    judgements: of Q examples, G samples each.
    correct_QG: bool[Q, G].
    rows: of the examples in the pool.
  """
  return [
    {
      "row": rows[q],
      "sample": g,
      "id": judgement.example.id,
      "hash": mark(judgement.example),
      "text": completion.text,
      "answer": verdict.answer,
      "right": bool(correct_QG[q][g]),
      "why_unparsable": verdict.error,
      "tokens": len(completion.tokens),
    }
    for q, judgement in enumerate(judgements)
    for g, (completion, verdict) in enumerate(
      zip(judgement.completions, judgement.verdicts, strict=True)
    )
  ]


def error_records(pool: PairPool, row: int, error: BadExample, *, samples: int) -> list[Record]:
  """A record per sample of a pair that cannot be judged, for answer_log."""
  example = pool[row]
  same = {"row": row, "id": example.id, "hash": mark(example), "error": str(error)}
  return [{**same, "sample": i} for i in range(samples)]


def accept(samples: Sequence[Record], *, max_per_pair: int) -> dict[int, list[Record]]:
  """{row: its correct samples, at most `max_per_pair`}; an empty list means a hard pair.

  A pair that could not be judged has no samples and is no key.
  """
  out: dict[int, list[Record]] = {}
  for record in samples:
    out.setdefault(record["row"], [])
    if record["right"] and len(out[record["row"]]) < max_per_pair:
      out[record["row"]].append(record)
  return out


def splits(
  pool: PairPool,
  accepted: Mapping[int, Sequence[Record]],
  samples: Sequence[Record],
  provenance: Mapping[str, object],
) -> dict[str, Iterator[Example]]:
  """{"kept": examples with an accepted reasoning, "hard": the others}; empty splits are left out.

  extra["sampled"] of every example is `provenance`, the order shown, the number of correct
  samples, and the tokens of the accepted sample.
  """
  tries = collections.Counter(record["row"] for record in samples)
  correct = collections.Counter(record["row"] for record in samples if record["right"])

  def sampled(row: int, tokens: int | None) -> dict[str, object]:
    return {
      **provenance,
      "swapped": pool.swapped(row),
      "right": correct[row],
      "of": tries[row],
      "tokens": tokens,
    }

  def kept_examples() -> Iterator[Example]:
    for row, records in accepted.items():
      for number, record in enumerate(records):
        example = pool[row]
        yield dataclasses.replace(
          example,
          id=f"{example.id}#{number}" if number else example.id,  # ids are unique in a split
          reasoning=record["text"],
          extra={**example.extra, "sampled": sampled(row, record["tokens"])},
        )

  def hard_examples() -> Iterator[Example]:
    for row, records in accepted.items():
      if not records:
        example = pool[row]
        yield dataclasses.replace(example, extra={**example.extra, "sampled": sampled(row, None)})

  out = {}
  if any(accepted.values()):
    out["kept"] = kept_examples()
  if not all(accepted.values()):
    out["hard"] = hard_examples()
  return out


def statistics(
  pool: PairPool, accepted: Mapping[int, Sequence[Record]], samples: Sequence[Record]
) -> dict[str, float | dict]:
  """{name: number} of all pairs, and "families": the same numbers by task."""
  tasks = {row: pool.task(row) for row in accepted}
  families = {}
  for task in sorted(set(tasks.values())):
    families[task] = _counts(
      {row: records for row, records in accepted.items() if tasks[row] == task},
      [record for record in samples if tasks[record["row"]] == task],
    )
  return {**_counts(accepted, samples), "families": families}


def _counts(
  accepted: Mapping[int, Sequence[Record]], samples: Sequence[Record]
) -> dict[str, float]:
  return {
    "pairs": len(accepted),
    "kept": sum(bool(records) for records in accepted.values()),
    "hard": sum(not records for records in accepted.values()),
    "reasonings": sum(len(records) for records in accepted.values()),
    "samples": len(samples),
    "right": sum(record["right"] for record in samples) / max(len(samples), 1),
    "unparsable": sum(record["answer"] is None for record in samples) / max(len(samples), 1),
  }
