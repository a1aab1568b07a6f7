"""What rejection sampling keeps of a pool, what stays hard, and the figures."""

import collections
import dataclasses

from cot_rm.data import distillation


class Pool:
  """Pairs of a source in the order in which the policy is asked them; a sequence of Examples."""

  def __init__(self, source, *, count=0, tasks=(), seed=0):
    """See distillation.drawn, which also exchanges candidates until golds are half 1 and half 2."""
    self._source = source
    self._pairs = distillation.drawn(source, count=count, tasks=tasks, seed=seed)

  def __len__(self):
    return len(self._pairs)

  def __getitem__(self, row):
    return distillation.put(self._source, self._pairs[row])

  def swapped(self, row):
    """Whether the candidates stand in another order than in the source."""
    return self._pairs[row].swap


def records(judged, right_QG, *, first):
  """A record a sample, for data/lines; `first` is the row of the first example in the pool."""
  return [
    {
      "row": first + q,
      "sample": g,
      "id": one.example.id,
      "text": completion.text,
      "answer": verdict.answer,
      "right": bool(right_QG[q][g]),
      "why_unparsable": verdict.error,
      "tokens": len(completion.tokens),
    }
    for q, one in enumerate(judged)
    for g, (completion, verdict) in enumerate(zip(one.completions, one.verdicts, strict=True))
  ]


def part(pool, samples, *, most):
  """{row: its right records, `most` of them at most}; an empty list where the pair is hard."""
  out = {row: [] for row in range(len(pool))}
  for record in samples:
    if record["right"] and len(out[record["row"]]) < most:
      out[record["row"]].append(record)
  return out


def splits(pool, parted, samples, provenance):
  """{"kept": examples with the policy's reasoning, "hard": those without}; none that is empty.

  extra["sampled"] of both is `provenance`, the order shown, how many samples were right, and the
  tokens of the one that was kept.
  """
  tries = collections.Counter(record["row"] for record in samples)
  right = collections.Counter(record["row"] for record in samples if record["right"])

  def noted(row, tokens):
    return provenance | {
      "swapped": pool.swapped(row),
      "right": right[row],
      "of": tries[row],
      "tokens": tokens,
    }

  def kept():
    for row, some in parted.items():
      for number, record in enumerate(some):
        one = pool[row]
        yield dataclasses.replace(
          one,
          id=f"{one.id}#{number}" if number else one.id,  # ids are unique in a split
          reasoning=record["text"],
          extra={**one.extra, "sampled": noted(row, record["tokens"])},
        )

  def hard():
    for row, some in parted.items():
      if not some:
        one = pool[row]
        yield dataclasses.replace(one, extra={**one.extra, "sampled": noted(row, None)})

  out = {}
  if any(parted.values()):
    out["kept"] = kept()
  if not all(parted.values()):
    out["hard"] = hard()
  return out


def figures(pool, parted, samples):
  """{name: number} of the whole, and "families": the same by task, for a table."""
  tasks = {row: pool[row].task for row in parted}
  families = {}
  for task in sorted(set(tasks.values())):
    families[task] = _counts(
      {row: some for row, some in parted.items() if tasks[row] == task},
      [record for record in samples if tasks[record["row"]] == task],
    )
  return {**_counts(parted, samples), "families": families}


def _counts(parted, samples):
  return {
    "pairs": len(parted),
    "kept": sum(bool(some) for some in parted.values()),
    "hard": sum(not some for some in parted.values()),
    "reasonings": sum(len(some) for some in parted.values()),
    "samples": len(samples),
    "right": sum(record["right"] for record in samples) / max(len(samples), 1),
    "unparsable": sum(record["answer"] is None for record in samples) / max(len(samples), 1),
  }
