"""Judges a file of pairs: JSONL in, JSONL with verdicts out. Goes on where it was interrupted."""

import collections

from absl import logging

from cot_rm import metrics, prompts
from cot_rm.data import answer_log, jsonl
from cot_rm.sampler import sampling
from cot_rm.stages import common


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
  done = len(answer_log.read(out, examples))
  model = common.load_judge(
    config, workdir, knobs.start, max_prompts=knobs.max_prompts, rules="sample_rules"
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
      vote_stop=knobs.vote_stop,
    )

  if done:
    logging.info("%s: %d of %d rows are judged already", name, done, len(examples))
  with metrics.bar(name, total=len(examples), done=done) as bar:
    for at in range(done, len(examples), knobs.max_prompts):
      batch = examples[at : at + knobs.max_prompts]
      answer_log.append(out, [{"row": row, **r} for row, r in enumerate(_records(batch, ask), at)])
      bar.advance(len(batch))
  told = model.report()
  logging.info("%s: %s", name, "  ".join(f"{key} {value:.3g}" for key, value in told.items()))
  metrics.table("verdicts", {str(out): _figures(out, examples)})


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
  records = answer_log.read(path, examples)
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
