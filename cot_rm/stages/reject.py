"""Rejection sampling: keeps the policy's correct judgements; pairs without one are hard pairs.

Stage 2 of UnifiedReward-Think (arXiv:2505.03318), with one sample of each pair: the kept and the
hard examples together are the pool.
"""

import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from cot_rm import files, metrics, prompts, rewards, stages
from cot_rm import judge as judging
from cot_rm.data import answer_log, array_record, bad_examples, rejection
from cot_rm.sampler import sampling
from cot_rm.schema import BadExample
from cot_rm.stages import common, preflight_examples, preflight_memory
from cot_rm.stages import preflight as checking

BATCHES = 8  # calls of the sampler between two writes: at most these are lost by a kill


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes workdir/<name>/data: splits "kept" (with reasoning) and "hard"; returns the figures.

  A pair is hard if none of its samples is correct; a sample outside the grammar is not correct.
  Samples are written to samples.jsonl as they come: an interrupted run continues at the end of that
  file, unless another model has taken the place of the one that sampled. An empty split is not
  written.
  """
  folder, knobs = workdir / name, common.section(config, name, "reject")
  rewards.weighted_names(dict.fromkeys(knobs.accept, 1.0))  # a misspelt name is an error here
  skips = common.open_skips(config, workdir, name)
  source = common.open_examples(config, workdir, knobs.data, knobs.split)
  pool = rejection.PairPool(
    common.count_bad_records(source, skips),
    count=knobs.count,
    tasks=common.parse_tasks(knobs.tasks),
    seed=config.seed,
    left_out=lambda _, id, error: skips.add(id, error),
  )
  model = common.resolve_path(workdir, knobs.start)
  conditions = _conditions(config, knobs, model)
  common.begin_answers(
    folder,
    conditions,
    ("samples.jsonl", "data"),
    bounds=common.bounds(config),
    legacy={"model": model},
  )
  path = folder / "samples.jsonl"
  samples = _answers(config, workdir, name, pool, path, skips)
  if not samples:
    raise ValueError(f"{name}: none of {len(pool):,} pairs can be judged; see {skips.path}")
  accepted = rejection.accept(samples, max_per_pair=knobs.keep)
  figures = rejection.statistics(pool, accepted, samples) | (skips.figures() or {})
  if jax.process_index() == 0 and not (folder / "data").exists():
    provenance = {
      "model": model,
      "mark": conditions["model"],
      "seed": config.seed,
      "sampling": knobs.sampling.to_dict(),
    }
    array_record.write(
      folder / "data",
      rejection.splits(pool, accepted, samples, provenance),
      options=common.media_options(config),
      left_out=skips.add,
    )
  multihost_utils.sync_global_devices(name)
  metrics.table(f"{name}: pairs with a correct sample are kept", figures.pop("families"))
  if jax.process_index() == 0:
    files.write_atomic(folder / "figures.json", json.dumps(figures))
  return figures


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the model, the pairs and their lengths, the sampling, and the room on disk."""
  section, checks = common.section_name(config, name, "reject"), checking.Checks(name)
  knobs, where = config[section], f"config.{section}"
  checking.check_grammar(checks, config)
  checking.check_mesh(checks, config, rules="sample_rules")
  with checks.catching():
    rewards.weighted_names(dict.fromkeys(knobs.accept, 1.0))
    checks.require(
      not rewards.asks(dict.fromkeys(knobs.accept, 1.0), prompts.get(config.grammar)),
      f"{where}.accept names a reward that a judge model decides with the grammar "
      f"{config.grammar!r}, and this stage has none: no sample would be accepted; name others",
    )
  checking.check_sampling(checks, where, knobs.sampling, n=knobs.samples, n_knob="samples")
  tasks, folder = checking.check_tasks(checks, knobs), None
  with checks.catching():
    folder = checking.find_model(checks, config, workdir, f"{where}.start", knobs.start)
  preflight_memory.check(
    checks,
    config,
    folder,
    max_tokens=(f"{where}.sampling.max_tokens", knobs.sampling.max_tokens),
    prompts=(f"{where}.max_prompts", knobs.max_prompts),
    samples=(f"{where}.samples", knobs.samples),
  )
  with checks.catching():
    if not checking.planned_data(checks, config, workdir, f"{where}.data", knobs.data):
      rules = [preflight_examples.fits(common.buckets(config))]
      preflight_examples.check_pool(
        checks, config, workdir, knobs, where, tasks, folder=folder, rules=rules
      )
  return checks


def _conditions(config: common.Section, knobs: common.Section, model: str) -> dict[str, Any]:
  """Everything that accepted samples depend on, serializable as JSON; see common.begin_answers."""
  return {
    **common.conditions(config, model),
    "data": [knobs.data, knobs.split],
    "sampling": [knobs.samples, knobs.sampling.to_dict()],
    "accept": list(knobs.accept),
  }


def _answers(
  config: common.Section,
  workdir: epath.Path,
  name: str,
  pool: rejection.PairPool,
  path: epath.Path,
  skips: bad_examples.Skips,
) -> list[answer_log.Record]:
  """The samples of all pairs, by row; missing ones are appended to the file, batch by batch.

  A pair that cannot be judged has records of its error in the file, and no samples.
  """
  knobs = common.section(config, name, "reject")
  before = answer_log.read(path, pool, mark=rejection.mark, refetch=True)
  found = {(r["row"], r["sample"]): r for r in before}
  numbers = range(knobs.samples)
  for record in found.values():
    if "error" in record:
      skips.add(record["id"], record["error"])
  missing = [row for row in range(len(pool)) if any((row, i) not in found for i in numbers)]
  if missing:
    grammar, how = prompts.get(config.grammar), sampling.Sampling(**knobs.sampling)
    judge = common.load_judge(
      config, workdir, knobs.start, max_prompts=knobs.max_prompts, rules="sample_rules"
    )
    step = BATCHES * knobs.max_prompts
    with metrics.bar(name, total=len(pool), done=len(pool) - len(missing)) as bar:
      for first in range(0, len(missing), step):
        rows = missing[first : first + step]
        answers = judge.judge_usable(
          [pool[row] for row in rows],
          grammar=config.grammar,
          n=knobs.samples,
          sampling=how,
          seed=config.seed,
          progress=bar.advance,
        )
        records = _records(pool, rows, answers, grammar, knobs)
        new = {key: r for r in records if (key := (r["row"], r["sample"])) not in found}
        answer_log.append(path, new.values())
        found |= new
        for row, answer in zip(rows, answers, strict=True):
          if isinstance(answer, BadExample):
            skips.add(pool[row].id, answer)
    if jax.process_index() == 0 and (data := path.parent / "data").exists():  # of other samples
      aside = epath.Path(answer_log.earlier_folder(path.parent))
      aside.mkdir(parents=True)
      data.rename(aside / "data")
  every = (found[row, i] for row in range(len(pool)) for i in numbers)
  return [record for record in every if "error" not in record]


def _records(
  pool: rejection.PairPool,
  rows: Sequence[int],
  answers: Sequence[judging.Judgement | BadExample],
  grammar: prompts.Grammar,
  knobs: common.Section,
) -> list[answer_log.Record]:
  """The records of a batch: of its samples, and of pairs that cannot be judged."""
  records, usable, judged = [], [], []
  for row, answer in zip(rows, answers, strict=True):
    if isinstance(answer, BadExample):
      records += rejection.error_records(pool, row, answer, samples=knobs.samples)
    else:
      usable.append(row)
      judged.append(answer)
  if judged:
    _, _, parts = rewards.score(judged, grammar, dict.fromkeys(knobs.accept, 1.0))
    # A sample whose reward cannot be computed (NaN) is not correct.
    correct_QG = np.all([part == 1 for part in parts.values()], axis=0)
    records += rejection.to_records(judged, correct_QG, rows=usable)
  return records
