"""Supervised fine-tuning (SFT) on reference judgements.

Used for the cold start, for further rounds, and as the control of RL: more SFT in the same time.
"""

import functools
import json
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import logging
from etils import epath

import cot_rm.judge  # by its full name: a stage of this package is called judge too
from cot_rm import (
  distributed,
  metrics,
  optim,
  prompts,
  registry,
  schema,
  sharding,
  stages,
  train,
)
from cot_rm.algorithms import aggregation, sft
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import train_state
from cot_rm.data import identity, packing, pipeline, selection
from cot_rm.stages import common, preflight_data, preflight_examples, validation
from cot_rm.stages import preflight as checking

# References of another grammar, or whose verdict is not the gold answer.
CONTRADICTING = ("refuse", "keep", "drop")


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Trains on prompts and their reference judgements; only tokens of judgements have a loss.

  Writes the folder's model, training.json and metrics.jsonl. Returns False, without training, if
  the knob `control` is set and config.control is not.
  """
  folder, knobs = workdir / name, common.section(config, name, "sft")
  if knobs.control and not config.control:
    return False
  policy = common.load_judge(config, workdir, knobs.start, max_prompts=config.eval.max_prompts)
  mesh, rules, buckets = policy.mesh, policy.rules, policy.buckets
  validate = validation.make(config, workdir, name, policy)

  steps = knobs.steps or _steps_in_time_of(workdir, knobs.minutes_of, knobs.speed_of)
  tx, schedule = optim.make(steps=steps, **knobs.optim)
  state, shardings = train.init_state(policy.params, tx, mesh, rules)
  step = train.make_step(
    policy.graphdef,
    sft.loss,
    tx,
    shardings,
    token_weights=functools.partial(aggregation.token_weights, aggregate="token"),
    frozen=knobs.optim.frozen,
    accumulate=knobs.accumulate,
  )
  skips = common.open_skips(config, workdir, name)
  source = _source(config, workdir, knobs, str(policy.opened.folder))
  examples = identity.describe(source)
  common.count_bad_records(source, skips)
  data = pipeline.packed_batches(
    source,
    _make_encode(policy, config.grammar),
    seed=config.seed,
    rows=knobs.rows,
    max_items=knobs.examples,
    tokens=max(buckets.tokens),
    patches=max(buckets.patches),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    skips=skips,
  )

  checkpoints = train_state.TrainCheckpoints(folder / "checkpoints", keep=1)
  seconds = 0.0
  if restored := checkpoints.restore_latest(state):
    at, state, extra = restored
    common.check_continued(config, folder, extra, examples, source)
    common.restore_position(extra, data, skips)
    seconds = extra["seconds"]
    logging.info("%s: continues from step %d", name, at)

  first = int(state.step)
  next_batch = lambda: packing.pack(next(data), buckets, rows=knobs.rows)
  batch = next_batch() if first < steps else None
  bar = metrics.bar(name, total=steps, done=first)
  # Leaving `checkpoints`, also by an error, waits for the checkpoint that is being written.
  with checkpoints, metrics.Writer(folder) as writer, bar:
    for i in range(first, steps):
      began, lr = time.monotonic(), float(schedule(i))
      with sharding.use(mesh, rules):
        state, out = step(state, distributed.shard_batch(batch, mesh, rules), lr)
      # The next batch is made while the devices compute.
      tokens, saves = (batch.segments > 0).sum(), i + 1 == steps or (i + 1) % knobs.save_every == 0
      position = common.training_position(data, skips, examples) if saves else {}
      last = i + 1 == steps
      batch = None if last else next_batch()
      train.check_finite(out, i)
      seconds += time.monotonic() - began
      out = {**out, **skips.metrics(), "train/lr": lr, "train/tokens": tokens}
      writer.write(i + 1, {**out, "time/step": time.monotonic() - began})
      bar.advance(loss=out["train/loss"])
      if last or (i + 1) % knobs.eval_every == 0:
        figures = validate(policy.using(state.params))
        writer.write(i + 1, pairs.to_metrics("check", figures))
        logging.info("%s step %d: %s", name, i + 1, pairs.summary_line(figures))
      if saves:
        checkpoints.save(i + 1, state, {**position, "seconds": seconds})

  common.save_trained(folder, policy, state.params, steps=steps, seconds=seconds)
  return skips.figures()


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks the model, the references and their lengths, the rows of a step, room on disk."""
  section, checks = common.section_name(config, name, "sft"), checking.Checks(name)
  knobs, where = config[section], f"config.{section}"
  if knobs.control and not config.control:
    checks.found["control"] = "not wanted: config.control is not set"
    return checks
  checking.check_grammar(checks, config)
  checking.check_choice(checks, f"{where}.contradicting", knobs.contradicting, CONTRADICTING)
  _check_time(checks, config, workdir, section)
  shards = checking.check_mesh(checks, config, rules="train_rules")
  checking.check_divides(checks, f"{where}.rows", knobs.rows, shards, "shards of a batch")
  checking.check_divides(checks, f"{where}.rows", knobs.rows, knobs.accumulate, "microbatches")
  with checks.catching():
    optim.make(steps=max(knobs.steps, 1), **knobs.optim)
  folder = checking.check_start(checks, config, workdir, section)
  with checks.catching():
    rows = preflight_examples.check_training(
      checks,
      config,
      workdir,
      section,
      folder=folder,
      rules=[
        preflight_examples.needs_reference,
        preflight_examples.fits(common.buckets(config), with_reference=True),
      ],
    )
    preflight_examples.check_references(
      checks, rows, f"{where}.contradicting", knobs.contradicting, config.grammar
    )
  preflight_examples.check_validation(
    checks,
    config,
    workdir,
    folder,
    prompts=("config.eval.max_prompts", config.eval.max_prompts),
  )
  return checks


def _source(
  config: common.Section, workdir: epath.Path, knobs: common.Section, folder: str
) -> Sequence[schema.Example]:
  """The examples to learn from; with contradicting="drop" without those references.

  folder: of the model, whose processor has measured the examples.
  """
  source = common.open_examples(config, workdir, knobs.data, knobs.split)
  if knobs.contradicting != "drop":
    return source
  how = preflight_examples.measure_of(config, folder, swapped=False)
  rows = preflight_data.measure(workdir, source, how, name=f"{knobs.data} {knobs.split}")
  kept = [
    i for i, row in enumerate(rows) if not preflight_examples.contradiction(row, config.grammar)
  ]
  logging.info("%s references of another grammar or verdict are left out", len(rows) - len(kept))
  return selection.Subset(source, tuple(kept))


def _make_encode(
  policy: cot_rm.judge.Judge, grammar: str
) -> Callable[[schema.Example], packing.Item]:
  """`encode(example) -> Item`: prompt, and reference judgement with its end-of-turn token."""
  module = prompts.get(grammar)

  def encode(example):
    if not example.reasoning:
      raise schema.BadExample(f"example {example.id!r} has no reasoning to learn from")
    prompt = policy.processor(module.render(example), id=example.id)
    name = f"example {example.id!r}: the reference"
    tokens = policy.processor.encode_answer(example.reasoning, name=name)
    answer = [*tokens, policy.processor.end_of_turn]
    return packing.Item(prompt, np.asarray(answer, np.int32))

  return encode


def _check_time(
  checks: checking.Checks, config: common.Section, workdir: epath.Path, section: str
) -> None:
  """The number of steps is given, or the times are known, or will be, from which it follows."""
  knobs, where = config[section], f"config.{section}"
  if knobs.steps:
    return
  if not knobs.minutes_of:
    checks.faults.append(f"{where}.steps is 0 and {where}.minutes_of is empty; set one of them")
    return
  before = checking.planned(config, checks.name)
  others = [(f"{where}.minutes_of", name) for name in _names(knobs.minutes_of)]
  for knob, name in [*others, (f"{where}.speed_of", knobs.speed_of)]:
    times = [workdir / name / "training.json"]
    times += [workdir / name / "done.json"] if knob.endswith("minutes_of") else []
    makes = name in before and (knob.endswith("minutes_of") or before[name] in ("sft", "rl"))
    checks.require(
      makes or any(path.exists() for path in times),
      f"{knob} names {name!r}, which is no earlier stage of config.stages, nor one that has run in "
      f"this workdir; {registry.hint(name, before)}",
    )


def _names(text: str) -> list[str]:
  """The names in a knob, separated by commas."""
  return [name.strip() for name in text.split(",") if name.strip()]


def _steps_in_time_of(workdir: epath.Path, others: str, reference: str) -> int:
  """The number of steps that take as long as other stages took.

  Args:
    workdir: the run's folder.
    others: folders of stages, separated by commas. The time of a training stage is that of its
      steps; the time of any other stage is that of the whole stage.
    reference: the folder of the SFT stage whose steps per second are assumed.
  """
  if not others:
    raise ValueError("an SFT stage has steps=0 and no `minutes_of`: set one of these two knobs")

  def seconds(name):
    folder = workdir / name
    training = folder / "training.json"
    record = training if training.exists() else folder / "done.json"
    return json.loads(record.read_text())["seconds"]

  training = json.loads((workdir / reference / "training.json").read_text())
  total = sum(map(seconds, _names(others)))
  return max(int(total * training["steps"] / training["seconds"]), 1)
