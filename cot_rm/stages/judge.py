"""Judges the pairs of a file: those without a verdict, by what they ask and who is asked."""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import logging
from etils import epath

import cot_rm.judge  # by its full name: this module is called judge too
from cot_rm import metrics, prompts, registry, schema, stages
from cot_rm.data import answer_log, bad_examples, identity
from cot_rm.sampler import sampling
from cot_rm.stages import common, preflight_examples, preflight_memory, scored_models
from cot_rm.stages import preflight as checking


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes workdir/<name>/verdicts.jsonl: one line per example, in order, with its row.

  The line of an example that cannot be judged (an unreadable picture, too long) has its error;
  config.data.max_bad is the most of them. A knob out of range stops the run before any example is
  judged.

  The stage runs each time: verdicts that are there are kept, and pairs that are new or have changed
  are judged. With another model or other knobs all are judged anew, and the verdicts before are in
  `earlier`.
  """
  section, folder = common.section_name(config, name, "judge"), workdir / name
  knobs = config[section]
  _check_knobs(config, section)
  opened = _open(config, workdir, section)
  examples = _Readable(opened)
  conditions = _conditions(config, knobs, common.resolve_path(workdir, knobs.start))
  bounds = common.bounds(config)
  common.begin_answers(folder, conditions, ["verdicts.jsonl"], bounds=bounds, legacy={})
  path, skips = folder / "verdicts.jsonl", common.open_skips(config, workdir, name)
  common.count_bad_records(opened, skips)
  kept = answer_log.read(path, examples, refetch=True)
  judged = {record["row"] for record in kept}
  _count(kept, skips)
  missing = [row for row in range(len(examples)) if row not in judged]
  if judged:
    logging.info("%s: %d of %d rows are already judged", name, len(judged), len(examples))
  if missing:
    _judge(config, workdir, name, examples, missing, skips)
  # Of a pair that was in the input twice, both verdicts are about the one that is left.
  by_row = {record["row"]: record for record in answer_log.read(path, examples)}
  records = [
    record | {"gold": examples[row].gold} if "gold" in record else record
    for row, record in by_row.items()
  ]
  answer_log.write(path, records)  # in order, with the gold answers of today
  metrics.table("verdicts", {str(path): _figures(records, len(examples))})
  return False  # pairs that change later are judged by the same command


class _Readable(Sequence[schema.Example]):
  """Pairs of which one that cannot be read is a stand-in with the error as its question."""

  def __init__(self, source: Sequence[schema.Example]):
    self._source = source
    self.errors: dict[int, schema.BadExample] = {}  # by row, of the rows that were read

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, row: int) -> schema.Example:
    try:
      return self._source[row]
    except schema.BadExample as error:
      self.errors[row] = error
      return schema.Example.answers(str(error), "", "", id=f"row {row + 1}")


def _conditions(config: common.Section, knobs: common.Section, model: str) -> dict[str, Any]:
  """Everything that a verdict depends on, serializable as JSON; see common.begin_answers."""
  return {
    **common.conditions(config, model),
    "sampling": [knobs.temperature, knobs.max_tokens, knobs.votes],
    "repetition_penalty": knobs.repetition_penalty,
    "orders": [knobs.both_orders, knobs.vote_stop],
    "read": knobs.read,
  }


def _judge(
  config: common.Section,
  workdir: epath.Path,
  name: str,
  examples: _Readable,
  missing: Sequence[int],
  skips: bad_examples.Skips,
) -> None:
  """Judges the examples in the rows `missing`, and appends their records batch by batch."""
  knobs = common.section(config, name, "judge")
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
      repetition_penalty=knobs.repetition_penalty,
      max_tokens=knobs.max_tokens,
      seed=config.seed,
      vote_stop=knobs.vote_stop,
      read=knobs.read,
    )

  with metrics.bar(name, total=len(examples), done=len(examples) - len(missing)) as bar:
    for first in range(0, len(missing), knobs.max_prompts):
      rows = missing[first : first + knobs.max_prompts]
      batch = {row: examples[row] for row in rows}
      readable = [row for row in rows if row not in examples.errors]
      found = dict(zip(readable, _records([batch[row] for row in readable], ask), strict=True))
      records = [
        {
          "row": row,
          "hash": identity.question_hash(example),
          **(found.get(row) or {"id": example.id, "error": str(examples.errors[row])}),
        }
        for row, example in batch.items()
      ]
      answer_log.append(workdir / name / "verdicts.jsonl", records)
      _count(records, skips)
      bar.advance(len(batch))
  report = "  ".join(f"{key} {value:.3g}" for key, value in judge.report().items())
  logging.info("%s: %s", name, report)


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the model, the pairs and their lengths, the votes and their temperature."""
  section, checks = common.section_name(config, name, "judge"), checking.Checks(name)
  knobs, where, folder = config[section], f"config.{section}", None
  checking.check_mesh(checks, config, rules="sample_rules")
  with checks.catching():
    _check_knobs(config, section)
  with checks.catching():
    folder = checking.find_model(checks, config, workdir, f"{where}.start", knobs.start)
  preflight_memory.check(
    checks,
    config,
    folder,
    max_tokens=(f"{where}.max_tokens", knobs.max_tokens),
    prompts=(f"{where}.max_prompts", knobs.max_prompts),
    samples=(f"{where}.votes", knobs.votes),
  )
  with checks.catching():
    if not checking.planned_data(checks, config, workdir, f"{where}.input", knobs.input):
      direct = folder and knobs.read == "direct"
      openings = scored_models.openings(config, folder) if direct else None
      preflight_examples.check(
        checks,
        config,
        workdir,
        _open(config, workdir, section),
        name=str(knobs.input),
        folder=folder,
        rules=[preflight_examples.fits(common.buckets(config), openings=openings)],
        swapped=knobs.both_orders,
      )
  return checks


def _open(config: common.Section, workdir: epath.Path, section: str) -> Sequence[schema.Example]:
  """The pairs to judge."""
  knobs = config[section]
  if not knobs.input:
    raise ValueError(f"config.{section}.input is empty; it names a file of pairs")
  return common.open_examples(config, workdir, knobs.input, knobs.split)


def _check_knobs(config: common.Section, section: str) -> None:
  """Raises ValueError for a knob out of range."""
  knobs = config[section]
  prompts.get(config.grammar)
  sampling.Sampling(
    temperature=knobs.temperature,
    max_tokens=knobs.max_tokens,
    repetition_penalty=knobs.repetition_penalty,
  )
  registry.lookup(dict.fromkeys(cot_rm.judge.READS), knobs.read, f"config.{section}.read")
  if knobs.votes > 1 and knobs.read == "direct":
    raise ValueError(
      f"config.{section}.votes is {knobs.votes}, and direct reads of a pair would all be the same; "
      f"set it to 1, or config.{section}.read to 'text'"
    )
  if knobs.votes < 1:
    raise ValueError(f"config.{section}.votes is {knobs.votes}; it must be 1 or more")
  if knobs.votes > 1 and knobs.temperature == 0:
    raise ValueError(
      f"config.{section}.votes is {knobs.votes}, and they would all be the same; set "
      f"config.{section}.temperature above 0"
    )


def _count(records: Iterable[answer_log.Record], skips: bad_examples.Skips) -> None:
  """Counts the records of examples that cannot be judged, by their rows: ids may repeat."""
  for record in records:
    if "error" in record:
      skips.add(f"row {record['row'] + 1}: {record['id']}", record["error"])


def _records(
  batch: Sequence[schema.Example],
  ask: Callable[[Sequence[schema.Example]], list[schema.PairVerdict]],
) -> list[dict[str, Any]]:
  """A record per example, of its verdict or of its error."""
  try:
    return [_record(e, v) for e, v in zip(batch, ask(batch) if batch else [], strict=True)]
  except schema.BadExample as error:
    if len(batch) == 1:
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


def _figures(records: Sequence[answer_log.Record], pairs: int) -> dict[str, float]:
  """Counts of the records, and the accuracy of those with a gold answer."""
  kinds = collections.Counter(
    "failed" if "error" in r else "unparsable" if r["answer"] is None else "judged" for r in records
  )
  judged = [r for r in records if r.get("answer")]
  labelled = [r for r in judged if r["gold"]]
  out = {"pairs": pairs, **kinds}
  if labelled:
    out["accuracy of judged"] = sum(r["answer"] == r["gold"] for r in labelled) / len(labelled)
  if both := [r for r in judged if r["consistent"] is not None]:
    out["order_consistency of judged"] = sum(r["consistent"] for r in both) / len(both)
  return out
