"""Supervised fine-tuning: the cold start on reference judgements, and every later one.

Named "control" it is the control of RL: more of the same from the same start, for the same minutes.
"""

import functools
import json
import time

import jax
import numpy as np
from absl import logging

from cot_rm import distributed, metrics, optim, prompts, sharding, train
from cot_rm.algorithms import aggregation, sft
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import train_state
from cot_rm.data import datasets, packing, pipeline
from cot_rm.stages import common


def run(config, workdir, name):
  """Trains on prompts and their reference judgements; the loss counts the judgement only."""
  if name == "control" and config.control != "sft":
    return False
  folder, knobs = workdir / name, config.more if name == "control" else config[name]
  policy = common.load_judge(config, workdir, knobs.start, max_prompts=config.eval.rows)
  mesh, rules, buckets = policy.mesh, policy.rules, policy.buckets
  grammar, check = prompts.get(config.grammar), common.make_validation(config, workdir)

  steps = knobs.steps or _steps_in_the_minutes_of(workdir, knobs.minutes_of)
  tx, rate = optim.make(steps=steps, **knobs.optim)
  state, shardings = train.init_state(policy.params, tx, mesh, rules)
  step = train.make_step(
    policy.graphdef,
    sft.loss,
    tx,
    shardings,
    token_weights=functools.partial(aggregation.token_weights, aggregate="token"),
    accumulate=knobs.accumulate,
  )

  def encode(example):
    if not example.reasoning:
      raise ValueError(f"example {example.id!r} has no reasoning to learn from")
    prompt = policy.processor(grammar.render(example), id=example.id)
    answer = [*policy.processor.encode(example.reasoning), policy.processor.end_of_turn]
    return packing.Item(prompt, np.asarray(answer, np.int32))

  data = pipeline.packed_batches(
    datasets.open(common.resolve_path(workdir, knobs.data), knobs.split),
    encode,
    seed=config.seed,
    rows=knobs.rows,
    max_items=knobs.examples,
    tokens=max(buckets.tokens),
    patches=max(buckets.patches),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )

  checkpoints = train_state.TrainCheckpoints(folder / "checkpoints", keep=1)
  seconds = 0.0
  if restored := checkpoints.restore_latest(state):
    at, state, extra = restored
    data.set_state(extra["data"])
    seconds = extra["seconds"]
    logging.info("%s: goes on from step %d", name, at)

  first = int(state.step)
  fetch = lambda: packing.pack(next(data), buckets, rows=knobs.rows)
  batch = fetch() if first < steps else None
  bar = metrics.bar(name, total=steps, done=first)
  # Leaving, in whatever way, waits for the checkpoint that is being written.
  with checkpoints, metrics.Writer(folder) as writer, bar:
    for i in range(first, steps):
      began, lr = time.monotonic(), float(rate(i))
      with sharding.use(mesh, rules):
        state, out = step(state, distributed.shard_batch(batch, mesh, rules), lr)
      # While the devices are at it the next batch is made ready.
      data_state, tokens = data.get_state(), (batch.segments > 0).sum()
      last = i + 1 == steps
      batch = None if last else fetch()
      train.check_finite(out, i)
      seconds += time.monotonic() - began
      out = {
        **out,
        "train/lr": lr,
        "train/tokens": tokens,
        "time/step": time.monotonic() - began,
      }
      writer.write(i + 1, out)
      bar.advance(loss=out["train/loss"])
      if last or (i + 1) % knobs.eval_every == 0:
        found = check(policy.using(state.params))
        writer.write(i + 1, pairs.flat("check", found))
        logging.info("%s step %d: %s", name, i + 1, pairs.line(found))
      if last or (i + 1) % knobs.save_every == 0:
        checkpoints.save(i + 1, state, {"data": data_state, "seconds": seconds})

  common.save_trained(folder, policy, state.params, steps=steps, seconds=seconds)


def _steps_in_the_minutes_of(workdir, others):
  """How many of the first SFT's steps fit into the seconds that the stages `others` took.

  Of a stage that trains, the seconds of its training; of another, all of its seconds.
  """

  def seconds(name):
    folder = workdir / name.strip()
    trained = folder / "training.json"
    told = trained if trained.exists() else folder / "done.json"
    return json.loads(told.read_text())["seconds"]

  before = json.loads((workdir / "sft" / "training.json").read_text())
  taken = sum(map(seconds, others.split(",")))
  return max(int(taken * before["steps"] / before["seconds"]), 1)
