"""Judges a file of pairs: JSONL in, JSONL with verdicts out. Goes on where it was interrupted."""

import collections
import json

from absl import logging

from cot_rm import judge, metrics, prompts, sharding, stages
from cot_rm.data import jsonl, packing
from cot_rm.sampler import sampling


def run(config, workdir, name):
  """workdir/judge/verdicts.jsonl: a line an example, in order, by its row in the input.

  An example that cannot be judged (an unreadable picture, too long) is written with its error and
  counted; a record that cannot be read, and a knob that is out of range, stop the run before any
  work is done.
  """
  knobs, folder = config.judge, workdir / name
  prompts.get(config.grammar)  # here: below, what is wrong is taken for the example's fault
  sampling.Sampling(temperature=knobs.temperature, max_tokens=knobs.max_tokens)
  if knobs.votes < 1:
    raise ValueError(f"config.judge.votes is {knobs.votes}; it must be 1 or more")
  examples = list(jsonl.read(knobs.input))
  folder.mkdir(parents=True, exist_ok=True)
  out = folder / "verdicts.jsonl"
  done = _finished_rows(out, examples)
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  model = judge.load(
    stages.find(workdir, knobs.start),
    mesh=mesh,
    rules=config.mesh.sample_rules.to_dict(),
    buckets=packing.Buckets(**config.buckets),
    rows=knobs.rows,
    processor=config.processor.to_dict(),
    **config.model,
  )

  def ask(some):
    return model.compare(
      some,
      grammar=config.grammar,
      votes=knobs.votes,
      both_orders=knobs.both_orders,
      temperature=knobs.temperature,
      max_tokens=knobs.max_tokens,
      seed=config.seed,
    )

  if done:
    logging.info("%s: %d of %d rows are judged already", name, done, len(examples))
  with open(out, "a") as file, metrics.bar(name, total=len(examples), done=done) as bar:
    for at in range(done, len(examples), knobs.rows):
      batch = examples[at : at + knobs.rows]
      for row, record in enumerate(_records(batch, ask), at):
        file.write(json.dumps({"row": row, **record}) + "\n")
      file.flush()
      bar.advance(len(batch))
  metrics.table("verdicts", {str(out): _figures(out, examples)})


def _finished_rows(path, examples):
  """How many rows stand in the file; a last line that was cut off in writing is removed.

  Raises ValueError where they are not the first rows of these examples.
  """
  if not path.exists():
    return 0
  with open(path, "rb+") as file:
    written = file.read()
    whole = written.rfind(b"\n") + 1
    file.truncate(whole)
  ids = [json.loads(line)["id"] for line in written[:whole].splitlines()]
  for row, found in enumerate(ids):
    due = examples[row].id if row < len(examples) else "no row"
    if found != due:
      raise ValueError(
        f"{path}, row {row}: the verdict of {found!r} stands where {due!r} is due; "
        f"the input is another one: use another --workdir"
      )
  return len(ids)


def _records(batch, ask):
  try:
    return [_record(e, v) for e, v in zip(batch, ask(batch), strict=True)]
  except (ValueError, OSError) as error:
    if len(batch) == 1:
      logging.warning("not judged: %s", error)
      return [{"id": batch[0].id, "error": str(error)}]
    # One bad example must not take the others of its batch with it.
    return [record for e in batch for record in _records([e], ask)]


def _record(example, verdict):
  return {
    "id": example.id,
    "answer": verdict.answer,
    "gold": example.gold,
    "probability": verdict.probability,
    "consistent": verdict.consistent,
    "votes": verdict.votes,
    "scores": verdict.scores,
    "reasoning": verdict.reasoning,
    "why_unparsable": verdict.error if verdict.answer is None else None,
  }


def _figures(path, examples):
  records = [json.loads(line) for line in path.read_text().splitlines()]
  kinds = collections.Counter(
    "failed" if "error" in r else "unparsable" if r["answer"] is None else "judged" for r in records
  )
  judged = [r for r in records if r.get("answer")]
  known = [r for r in judged if r["gold"]]
  out = {"pairs": len(examples), **kinds}
  if known:
    out["accuracy of judged"] = sum(r["answer"] == r["gold"] for r in known) / len(known)
  if asked := [r for r in judged if r["consistent"] is not None]:
    out["order_consistency of judged"] = sum(r["consistent"] for r in asked) / len(asked)
  return out
