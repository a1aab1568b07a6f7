"""Reinforcement learning: sample a group of judgements per question, score them, step."""

import dataclasses
import functools
import json
import time

import jax
import numpy as np
from absl import logging

from cot_rm import checkpoint, judge, metrics, optim, prompts, rewards, sharding, stages, train
from cot_rm.algorithms import ALGORITHMS
from cot_rm.benchmarks import pairs
from cot_rm.data import packing, pipeline, samples, shapes_text, sources
from cot_rm.models import logprobs
from cot_rm.sampler import sampling


def run(config, workdir, name):
  """GRPO and its kin on pairs with a gold answer and no reasoning."""
  folder, knobs = workdir / name, config[name]
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  rules = config.mesh.train_rules.to_dict()
  buckets = packing.Buckets(**config.buckets)
  policy = judge.load(
    stages.find(workdir, knobs.start),
    mesh=mesh,
    rules=rules,
    buckets=buckets,
    rows=knobs.questions,
    processor=config.processor.to_dict(),
    **config.model,
  )
  grammar = prompts.get(config.grammar)
  algorithm = ALGORITHMS[knobs.algorithm]
  settings = algorithm.Config(**knobs.settings)
  weights = knobs.rewards.to_dict()

  tx, rate = optim.make(steps=knobs.steps, **knobs.optim)
  # A step gives up the arrays it is given: the frozen reference keeps its own.
  reference = jax.tree.map(lambda x: x.copy(), policy.params) if settings.kl else None
  state, shardings = train.init_state(policy.params, tx, mesh, rules)
  step = train.make_step(
    policy.graphdef, functools.partial(algorithm.loss, settings=settings), tx, shardings
  )
  logps = logprobs.make(policy.graphdef)

  data = pipeline.questions(
    sources.open(stages.find(workdir, knobs.data), knobs.split),
    seed=config.seed,
    batch=knobs.questions,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  check = sources.first(
    sources.open(stages.find(workdir, config.eval.data), config.eval.check), config.eval.check_pairs
  )
  greedy = sampling.Sampling(max_tokens=config.eval.max_tokens)
  rollout = sampling.Sampling(**knobs.sampling)

  checkpoints = checkpoint.Checkpoints(folder / "checkpoints", keep=1)
  seconds = 0.0
  if restored := checkpoints.restore_latest(state):
    at, state, extra = restored
    data.set_state(extra["data"])
    seconds = extra["seconds"]
    logging.info("%s: goes on from step %d", name, at)

  first = int(state.step)
  bar = metrics.bar(name, total=knobs.steps, done=first)
  # Leaving, in whatever way, waits for the checkpoint that is being written.
  with checkpoints, metrics.Writer(folder) as writer, bar:
    for i in range(first, knobs.steps):
      began = time.monotonic()
      # 1. A group of judgements per question, from the policy as it is now.
      judged = policy.using(state.params).judge(
        next(data), grammar=config.grammar, n=knobs.group, how=rollout, seed=config.seed + i
      )
      sampled = time.monotonic()

      # 2. Rewards, and how each sample did against its group.
      rewards_QG, out = rewards.score(
        [j.completions for j in judged], [j.example for j in judged], grammar, weights
      )
      advantages_QG = algorithm.advantages(rewards_QG, settings)

      # 3. Groups that agree teach nothing: the step takes the first that do not.
      spread = [q for q in range(len(judged)) if np.any(advantages_QG[q])]
      chosen = spread[: knobs.train_questions] or [0]
      out |= {
        "rl/silent_groups": 1 - len(spread) / len(judged),
        "rl/used_groups": len(spread[: knobs.train_questions]),
      }
      grouped = [
        [
          packing.Item(judged[q].prompt, c.tokens, c.logps, advantage)
          for c, advantage in zip(judged[q].completions, advantages_QG[q], strict=True)
        ]
        for q in chosen
      ]
      batch = packing.groups(grouped, buckets, rows=knobs.train_questions)

      # 4. One update. The pictures go through the training forward too.
      with sharding.use(mesh, rules):
        batch = sharding.put(batch, mesh, rules)
        if settings.kl:
          batch = dataclasses.replace(batch, ref_logps=logps(reference, batch))
        state, trained = step(state, batch)
      train.check(trained, i)
      seconds += time.monotonic() - began

      lengths = [len(c.tokens) for j in judged for c in j.completions]
      out |= trained | {
        "rl/mean_length": np.mean(lengths),
        "train/lr": rate(i),
        "sampler/tokens_per_s": sum(lengths) / (sampled - began),
        "time/rollout": sampled - began,
        "time/step": time.monotonic() - began,
      }
      writer.write(i + 1, out)
      bar.advance(reward=out["reward/total"], accuracy=out.get("reward/accuracy"))
      last = i + 1 == knobs.steps
      if last or (i + 1) % knobs.samples_every == 0:
        writer.samples(
          i + 1,
          [
            samples.record(j.example, c, v, {"total": r})
            for j, row in list(zip(judged, rewards_QG, strict=True))[:4]
            for c, v, r in list(zip(j.completions, j.verdicts, row, strict=True))[:2]
          ],
        )
      if last or (i + 1) % knobs.eval_every == 0:
        found = pairs.evaluate(
          policy.using(state.params),
          check,
          grammar=config.grammar,
          how=greedy,
          fidelity=shapes_text.fidelity,
        )
        writer.write(i + 1, pairs.flat("check", found))
        logging.info("%s step %d: %s", name, i + 1, pairs.line(found))
      if last or (i + 1) % knobs.save_every == 0:
        checkpoints.save(i + 1, state, {"data": data.get_state(), "seconds": seconds})

  checkpoint.save_model(
    folder / "model",
    state.params,
    family=policy.opened.family,
    config=policy.opened.config,
    processor_files=policy.opened.folder,
  )
  (folder / "training.json").write_text(json.dumps({"steps": knobs.steps, "seconds": seconds}))
