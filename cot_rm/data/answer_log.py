"""Files of records that grow as answers come: a run that was killed goes on where its file ends.

A record is one JSON object a line, with the `row` of the example that it is about and that
example's `id`.
"""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np

from cot_rm import schema


@dataclasses.dataclass(frozen=True)
class Answers:
  """What was answered to an example in one order, as it was kept: a judge's Judgement in short.

  Of the tokens only their number was: they are -1, and their log-probabilities NaN.
  """

  example: schema.Example
  completions: tuple[schema.Completion, ...]
  verdicts: tuple[schema.Verdict, ...]


def read(path, examples):
  """The records of a file, none where there is no file; a last line that was cut is removed.

  Raises:
    ValueError: a line that is no JSON, or a record that is not about the example of its row: the
      file was begun on another input.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return []
  with open(path, "rb+") as file:
    written = file.read()
    whole = written.rfind(b"\n") + 1
    if whole < len(written):
      file.truncate(whole)
  records = []
  for number, line in enumerate(written[:whole].split(b"\n")[:-1], 1):
    try:
      record = json.loads(line)
    except json.JSONDecodeError as error:
      raise ValueError(f"{path}, line {number}: not JSON: {error.msg}; is it ours?") from error
    row = record["row"]
    due = examples[row].id if row < len(examples) else "no row"
    if record["id"] != due:
      raise ValueError(
        f"{path}, row {row}: what is written is about {record['id']!r}, and {due!r} is due; "
        f"the input is another one: use another --workdir"
      )
    records.append(record)
  return records


def append(path, records):
  """Writes records behind those that are there, and on to the disk; only process 0 does."""
  if jax.process_index() != 0:
    return
  with open(path, "a", encoding="utf-8") as file:
    file.write("".join(f"{json.dumps(record)}\n" for record in records))
    file.flush()
    os.fsync(file.fileno())


def answers(path, examples, orders, ask, *, n, step, bar):
  """n answers to each example in each of its orders: what the file has, the rest asked for.

  Args:
    path: of the file: a record an answer, by `row`, `order` and `sample`.
    examples: as given.
    orders: for each example those that are wanted: 0 as given, 1 its candidates exchanged.
    ask: `(examples, progress) -> judgements` with n completions and verdicts each, in step;
      `progress(count)` is called as they come. Not called where nothing is missing.
    n: answers of each.
    step: examples in a call of `ask`; what it answers is written before the next call.
    bar: `(total, done) -> context manager` with an `advance(count)`; only entered to ask.

  Returns:
    (as given, exchanged): an Answers an example in each list, None where that order is not wanted.
  """
  kept = {(r["row"], r["order"], r["sample"]): r for r in read(path, examples)}
  turned = lambda row, order: examples[row].swapped() if order else examples[row]
  wanted = [(row, order) for row, some in enumerate(orders) for order in some]
  due = [place for place in wanted if any((*place, i) not in kept for i in range(n))]
  if due:
    with bar(len(wanted), len(wanted) - len(due)) as shown:
      for at in range(0, len(due), step):
        places = due[at : at + step]
        judged = ask([turned(*place) for place in places], shown.advance)
        new = {
          (*place, i): _record(one, *place, i)
          for place, one in zip(places, judged, strict=True)
          for i in range(n)
          if (*place, i) not in kept
        }
        append(path, new.values())
        kept |= new
  sides = [None] * len(examples), [None] * len(examples)
  for row, order in wanted:
    sides[order][row] = _answers(turned(row, order), [kept[row, order, i] for i in range(n)])
  return sides


def _record(judged, row, order, sample):
  completion, verdict = judged.completions[sample], judged.verdicts[sample]
  return {
    "row": row,
    "order": order,
    "sample": sample,
    "id": judged.example.id,
    "text": completion.text,
    "answer": verdict.answer,
    "probability": verdict.probability,
    "why_unparsable": verdict.error,
    "tokens": len(completion.tokens),
    "finish": completion.finish,
  }


def _answers(example, records):
  return Answers(
    example,
    tuple(
      schema.Completion(
        r["text"], np.full(r["tokens"], -1, np.int32), np.full(r["tokens"], np.nan), r["finish"]
      )
      for r in records
    ),
    tuple(
      schema.Verdict(r["answer"], error=r["why_unparsable"], probability=r["probability"])
      for r in records
    ),
  )
