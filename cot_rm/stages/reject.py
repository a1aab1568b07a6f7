"""Rejection sampling: the policy's own right judgements are kept, what it never gets is hard.

Stage 2 of UnifiedReward-Think (arXiv:2505.03318): one sample a pair; the two sets part the pool.
"""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils

from cot_rm import files, metrics, prompts, rewards
from cot_rm.data import answer_log, array_record, datasets, rejection
from cot_rm.sampler import sampling
from cot_rm.stages import common

BATCHES = 8  # calls of the sampler between two writes: what a run that is killed asks again


def run(config, workdir, name):
  """workdir/<name>/data: splits "kept", with reasoning, and "hard"; returns the figures.

  A pair none of whose samples is right is hard; one outside the grammar is wrong. Samples go to
  samples.jsonl as they come: an interrupted run goes on where the file ends, unless the
  model has been trained anew since. A split without examples is not written.
  """
  folder, knobs = workdir / name, common.section(config, name, "reject")
  pool = rejection.PairPool(
    datasets.open(common.resolve_path(workdir, knobs.data), knobs.split),
    count=knobs.count,
    tasks=common.parse_tasks(knobs.tasks),
    seed=config.seed,
  )
  model = common.resolve_path(workdir, knobs.start)
  common.begin_answers(folder, _asked(config, knobs, model), ("samples.jsonl", "data"))
  path = folder / "samples.jsonl"
  _sample(config, workdir, knobs, pool, path, name)
  samples = answer_log.read(path, pool)
  accepted = rejection.accept(pool, samples, max_per_pair=knobs.keep)
  figures = rejection.statistics(pool, accepted, samples)
  if jax.process_index() == 0 and not (folder / "data").exists():
    provenance = {
      "model": model,
      "mark": common.model_identity(model),
      "seed": config.seed,
      "sampling": knobs.sampling.to_dict(),
    }
    array_record.write(folder / "data", rejection.splits(pool, accepted, samples, provenance))
  multihost_utils.sync_global_devices(name)
  metrics.table(f"{name}: one right sample keeps a pair", figures.pop("families"))
  if jax.process_index() == 0:
    files.write_atomic(folder / "figures.json", json.dumps(figures))
  return figures


def _asked(config, knobs, model):
  """What a sample, and whether it is right, hangs on, for JSON."""
  return {
    "model": common.model_identity(model),
    "grammar": config.grammar,
    "seed": config.seed,
    "dtype": config.model.dtype,
    "processor": config.processor.to_dict(),
    "data": [knobs.data, knobs.split],
    "sampling": [knobs.samples, knobs.sampling.to_dict()],
    "accept": list(knobs.accept),
  }


def _sample(config, workdir, knobs, pool, path, name):
  """Writes what is missing of the samples of each pair."""
  how = sampling.Sampling(**knobs.sampling)
  done = len(answer_log.read(path, pool)) // knobs.samples
  if done == len(pool):
    return
  grammar = prompts.get(config.grammar)
  judge = common.load_judge(
    config, workdir, knobs.start, max_prompts=knobs.max_prompts, rules="sample_rules"
  )
  step = BATCHES * knobs.max_prompts
  with metrics.bar(name, total=len(pool), done=done) as bar:
    for at in range(done, len(pool), step):
      some = [pool[row] for row in range(at, min(at + step, len(pool)))]
      judged = judge.judge(
        some,
        grammar=config.grammar,
        n=knobs.samples,
        how=how,
        seed=config.seed,
        progress=bar.advance,
      )
      _, _, parts = rewards.score(judged, grammar, dict.fromkeys(knobs.accept, 1.0))
      # Where a reward cannot be had (NaN) the sample is not right.
      right_QG = np.all([part == 1 for part in parts.values()], axis=0)
      answer_log.append(path, rejection.to_records(judged, right_QG, first_row=at))
