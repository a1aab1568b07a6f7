"""Judges the pairs of a JSONL file; an interrupted run continues where it stopped."""

import collections
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging
from etils import epath

from cot_rm import metrics, prompts, schema, stages
from cot_rm.data import answer_log, jsonl
from cot_rm.sampler import sampling
from cot_rm.stages import common


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes workdir/<name>/verdicts.jsonl: one line per example, in order, with its row.

  The line of an example that cannot be judged (an unreadable picture, too long) has its error. A
  record that cannot be read, or a knob out of range, stops the run before any example is judged.
  """
  section, folder = common.section_name(config, name, "judge"), workdir / name
  knobs = config[section]
  # Checked here, as a ValueError in `ask` is taken for a fault of the example.
  prompts.get(config.grammar)
  sampling.Sampling(temperature=knobs.temperature, max_tokens=knobs.max_tokens)
  if knobs.votes < 1:
    raise ValueError(f"config.{section}.votes is {knobs.votes}; it must be 1 or more")
  if knobs.votes > 1 and knobs.temperature == 0:
    raise ValueError(
      f"config.{section}.votes is {knobs.votes}, and they would all be the same; set "
      f"config.{section}.temperature above 0"
    )
  examples = list(jsonl.read(knobs.input))
  if not examples:
    raise ValueError(f"config.{section}.input: there are no pairs in {knobs.input}")
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "verdicts.jsonl"
  done = len(answer_log.read(path, examples))
  judge = common.load_judge(
    config, workdir, knobs.start, max_prompts=knobs.max_prompts, rules="sample_rules"
  )

  def ask(batch):
    return judge.compare(
      batch,
      grammar=config.grammar,
      votes=knobs.votes,
      both_orders=knobs.both_orders,
      temperature=knobs.temperature,
      max_tokens=knobs.max_tokens,
      seed=config.seed,
      vote_stop=knobs.vote_stop,
    )

  if done:
    logging.info("%s: %d of %d rows are already judged", name, done, len(examples))
  with metrics.bar(name, total=len(examples), done=done) as bar:
    for first in range(done, len(examples), knobs.max_prompts):
      batch = examples[first : first + knobs.max_prompts]
      records = enumerate(_records(batch, ask), first)
      answer_log.append(path, [{"row": row, **record} for row, record in records])
      bar.advance(len(batch))
  report = "  ".join(f"{key} {value:.3g}" for key, value in judge.report().items())
  logging.info("%s: %s", name, report)
  metrics.table("verdicts", {str(path): _figures(path, examples)})
  return None


def _records(
  batch: Sequence[schema.Example],
  ask: Callable[[Sequence[schema.Example]], list[schema.PairVerdict]],
) -> list[dict[str, Any]]:
  """A record per example, of its verdict or of its error."""
  try:
    return [_record(e, v) for e, v in zip(batch, ask(batch), strict=True)]
  except (ValueError, OSError) as error:
    if len(batch) == 1:
      logging.warning("not judged: %s", error)
      return [{"id": batch[0].id, "error": str(error)}]
    # One bad example must not cost the others of its batch their verdicts.
    return [record for e in batch for record in _records([e], ask)]


def _record(example: schema.Example, verdict: schema.PairVerdict) -> dict[str, Any]:
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


def _figures(path: epath.Path, examples: Sequence[schema.Example]) -> dict[str, float]:
  """Counts of the records, and the accuracy of those with a gold answer."""
  records = answer_log.read(path, examples)
  kinds = collections.Counter(
    "failed" if "error" in r else "unparsable" if r["answer"] is None else "judged" for r in records
  )
  judged = [r for r in records if r.get("answer")]
  labelled = [r for r in judged if r["gold"]]
  out = {"pairs": len(examples), **kinds}
  if labelled:
    out["accuracy of judged"] = sum(r["answer"] == r["gold"] for r in labelled) / len(labelled)
  if both := [r for r in judged if r["consistent"] is not None]:
    out["order_consistency of judged"] = sum(r["consistent"] for r in both) / len(both)
  return out
