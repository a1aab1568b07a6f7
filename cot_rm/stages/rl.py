"""Reinforcement learning: sample a group of judgements per question, score them, step."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from cot_rm import (
  chat,
  distributed,
  files,
  metrics,
  optim,
  prompts,
  rewards,
  rollout,
  sharding,
  stages,
  train,
)
from cot_rm.algorithms import (
  ALGORITHMS,
  advantage_estimators,
  aggregation,
  importance_correction,
  policy_gradient,
)
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import model_folder
from cot_rm.data import datasets, packing, pipeline, selection
from cot_rm.sampler import sampling


def run(config, workdir, name):
  """GRPO, StableReinforce and their kin on pairs with a gold answer and no reasoning."""
  folder, knobs = workdir / name, config[name]
  if not knobs.judge.by and rewards.asks(knobs.rewards, prompts.get(config.grammar)):
    raise ValueError(
      f"config.{name}.rewards weighs whether a verdict follows from its reasoning; grammar "
      f"{config.grammar!r} has no scores that would decide it, and config.{name}.judge.by asks "
      f"nobody: 'service' asks the model of config.{name}.judge, 'policy' the policy itself"
    )
  at_once = min(knobs.rows or knobs.questions, knobs.questions)
  policy = stages.load(config, workdir, knobs.start, rows=at_once, max_pixels=knobs.max_pixels)
  mesh, rules, buckets = policy.mesh, policy.rules, policy.buckets
  check = stages.check(config, workdir)
  algorithm = ALGORITHMS[knobs.algorithm]
  settings = algorithm.Config(**knobs.settings[knobs.algorithm])
  correct = importance_correction.Config(**knobs.correction)

  # A rollout of train_questions groups makes updates * epochs steps of the optimizer.
  per_rollout = knobs.updates * knobs.epochs
  rows, rest = divmod(knobs.train_questions, knobs.updates)
  if rest:
    raise ValueError(
      f"config.{name}.train_questions is {knobs.train_questions}, which {knobs.updates} updates "
      f"cannot share equally"
    )
  sizes = _sizes(rows, sharding.num_batch_shards(mesh, rules) * knobs.accumulate)
  tx, rate = optim.make(steps=knobs.steps * per_rollout, **knobs.optim)
  # A step gives up the arrays it is given: the frozen reference keeps its own.
  reference = _copy(policy.params) if settings.kl else None
  state, shardings = train.init_state(policy.params, tx, mesh, rules)
  step = train.make_step(
    policy.graphdef,
    functools.partial(algorithm.loss, settings=settings),
    tx,
    shardings,
    weigh=functools.partial(
      aggregation.weights, how=settings.aggregate, length=settings.max_tokens
    ),
    accumulate=knobs.accumulate,
  )
  logps = train.make_logps(policy.graphdef, accumulate=knobs.accumulate)
  data = _questions(config, workdir, knobs, policy)

  checkpoints = model_folder.Checkpoints(folder / "checkpoints", keep=1)
  seconds, fell = 0.0, False
  if restored := checkpoints.restore_latest(state):
    at, state, extra = restored
    data.set_state(extra["data"])
    seconds, fell = extra["seconds"], extra["fell"]
    logging.info("%s: goes on from rollout %d", name, at)
  first = int(state.step) // per_rollout

  with contextlib.ExitStack() as stack:
    ask = _ask(stack, knobs.judge, folder, policy, f"config.{name}.judge")
    # Rewards are computed beside sampling and training, where they need no device for it.
    scorer = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
    pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
    # Leaving, in whatever way, waits for the checkpoint that is being written.
    stack.enter_context(checkpoints)
    writer = stack.enter_context(metrics.Writer(folder))
    bar = stack.enter_context(metrics.bar(name, total=knobs.steps, done=first))
    roll = functools.partial(
      rollout.roll,
      data,
      grammar=config.grammar,
      group=knobs.group,
      how=sampling.Sampling(**knobs.sampling),
      seed=config.seed,
      weights=knobs.rewards.to_dict(),
      ask=ask,
      wanted=knobs.train_questions,
      rounds=knobs.rounds if knobs.silent == "resample" else 1,
      later=None if knobs.judge.by == "policy" else scorer,
    )
    coming = None
    for i in range(first, first if fell else knobs.steps):
      began = time.monotonic()
      last = i + 1 == knobs.steps
      saves = last or (i + 1) % knobs.save_every == 0
      # 1. Judgements by the policy as it is now, or as it was before the step that is just done.
      sampled = coming.result() if coming else roll(policy.using(state.params), i)
      # What is saved must not depend on what comes: behind a checkpoint sampling starts afresh.
      coming = None
      if knobs.ahead and not saves:
        coming = pool.submit(roll, policy.using(_copy(state.params)), i + 1)
      waited = time.monotonic() - began

      # 2. How much better each did than its group, or than the whole rollout.
      put = lambda batch: distributed.shard_batch(batch, mesh, rules)
      pack = functools.partial(packing.groups, buckets=buckets)
      kl_QGT, apart = None, {}
      if settings.kl and algorithm.KL_IN == "reward":  # while a service may still be judging
        batch = pack([rollout.items(j) for j in sampled.judged], rows=len(sampled.judged))
        with sharding.use(mesh, rules):
          ref_logps = distributed.to_local(logps(reference, put(batch)))
        apart = policy_gradient.kl(batch.old_logps, ref_logps, batch.mask)
        kl_QGT = (batch.old_logps - ref_logps).reshape(len(sampled.judged), knobs.group, -1)
      waiting = time.monotonic()
      rolled = sampled.scored()
      out, waited = rolled.metrics | apart, waited + time.monotonic() - waiting
      everyones = [rolled.rewards_QG, rolled.lengths_QG]
      everyones = [*map(distributed.all_gather_host, everyones), settings]
      if kl_QGT is not None:
        everyones.append(distributed.all_gather_host(kl_QGT))
      advantages = distributed.own_rows(algorithm.advantages(*everyones))
      out |= advantage_estimators.effective(advantages)
      if "accuracy" in rolled.parts:
        out |= advantage_estimators.filtered(
          advantages, rolled.lengths_QG, rolled.parts["accuracy"]
        )

      # 3. The groups that are trained on, in `updates` batches.
      chosen = rolled.chosen(knobs.silent, knobs.train_questions, least=knobs.updates)
      out["rl/used_groups"] = (rolled.spread_Q[chosen] > 0).sum()
      batches = []
      for some in np.array_split(chosen, knobs.updates):
        most = distributed.all_gather_host([len(some)]).max()
        packed = pack(
          [rollout.items(rolled.judged[q], advantages[q]) for q in some],
          rows=next(size for size in sizes if size >= most),
        )
        batch = put(packed)
        with sharding.use(mesh, rules):
          if settings.kl and algorithm.KL_IN == "loss":
            batch = dataclasses.replace(batch, ref_logps=logps(reference, batch))
          if correct.on:
            old = logps(state.params, batch)
            batch = dataclasses.replace(batch, sampler_logps=batch.old_logps, old_logps=old)
            factors_BT, found = importance_correction.factors(batch, correct)
            batch = dataclasses.replace(batch, advantages=batch.advantages * factors_BT)
            out |= found
        batches.append(batch)
      if i == first or (i + 1) % knobs.look_every == 0:
        with sharding.use(mesh, rules):
          out["vision/logp_shift"] = _looks(logps, state.params, batches[0], name)

      # 4. The updates. The pictures go through the training forward too.
      updating, trained = time.monotonic(), []
      for batch in batches * knobs.epochs:
        lr = float(rate(int(state.step)))
        with sharding.use(mesh, rules):
          state, found = step(state, batch, lr)
        if knobs.unsound == "raise":
          train.check(found, i)
        trained.append({key: float(value) for key, value in found.items()})
      fell = not all(
        np.isfinite([found["train/loss"], found["train/grad_norm"]]).all() for found in trained
      )
      if fell:
        logging.error("%s: the loss is not finite: the stage ends at rollout %d", name, i + 1)
        last = saves = True
      now = time.monotonic()
      seconds += now - began

      out |= _over_updates(trained) | {
        "train/lr": lr,
        "time/wait": waited,
        "time/update": now - updating,
        "time/step": now - began,
      }
      writer.write(i + 1, out)
      bar.advance(reward=out["reward/total"], accuracy=out.get("reward/accuracy"))
      if last or (i + 1) % knobs.samples_every == 0:
        writer.write_samples(i + 1, rolled.records())
      if last or (i + 1) % knobs.eval_every == 0:
        found = check(policy.using(state.params))
        writer.write(i + 1, pairs.flat("check", found))
        logging.info("%s step %d: %s", name, i + 1, pairs.line(found))
      if saves:
        extra = {"data": data.get_state(), "seconds": seconds, "fell": fell}
        checkpoints.save(i + 1, state, extra)
      if fell:
        break

  model_folder.save_model(
    folder / "model",
    state.params,
    family=policy.opened.family,
    config=policy.opened.config,
    processor_files=policy.opened.folder,
  )
  if jax.process_index() == 0:
    told = json.dumps({"steps": int(state.step) // per_rollout, "seconds": seconds})
    files.write_atomic(folder / "training.json", told)


def _sizes(rows, parts):
  """Groups that a batch may have room for, ascending: `rows`, and half of them.

  Later on most groups agree and few are trained on. The whole batch, of all processes, goes into
  so many equal parts.
  """
  half, odd = divmod(rows, 2)
  return (rows,) if odd or half * jax.process_count() % parts else (half, rows)


def _questions(config, workdir, knobs, policy):
  """The iterator of what is asked: lists of what rollout.asked returns."""
  source = selection.choose(
    datasets.open(stages.find(workdir, knobs.data), knobs.split),
    tasks=stages.tasks(knobs.tasks),
    least_attempts=knobs.least_attempts,
    order=knobs.order,
  )
  encode = functools.partial(policy.encode, grammar=config.grammar)
  return pipeline.questions(
    source,
    functools.partial(rollout.asked, encode=encode, weights=knobs.rewards.to_dict()),
    seed=config.seed if knobs.order == "shuffled" else None,
    batch=knobs.questions // 2 if "swap" in knobs.rewards else knobs.questions,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def _looks(logps, params, batch, name):
  """Mean difference in log-probability that blank pictures make, in nats; raises where none does.

  Not to see is a silent failure: a policy can learn its verdicts' manners without the pictures.
  """
  read = batch.prompts.pictures
  if read is None:
    return float("nan")  # questions without a picture
  blank = dataclasses.replace(read, patches=jnp.zeros_like(read.patches))
  blind = dataclasses.replace(batch, prompts=dataclasses.replace(batch.prompts, pictures=blank))
  apart_BT = jnp.abs(logps(params, batch) - logps(params, blind))
  shift = float(aggregation.mean(apart_BT, batch.mask))
  if shift < 1e-6:
    raise RuntimeError(
      f"{name}: blanking the pictures moves the log-probabilities by {shift:.1e} nats a token: the "
      f"training forward does not see them"
    )
  if shift < 1e-2:
    logging.warning(
      "%s: blank pictures hardly matter to the policy: %.1e nats a token", name, shift
    )
  return shift


def _over_updates(trained):
  """One figure each: of the first update for what compares with the sampler, the mean of others."""
  out = {}
  for key, value in trained[0].items():
    values = [found[key] for found in trained]
    if not key.startswith("agree/"):
      # numpy's: NaN among them is NaN, which Python's max may lose.
      value = float(np.max(values) if key.endswith("_max") else np.mean(values))
    out[key] = value
  return out


def _ask(stack, knobs, folder, policy, where):
  """`ask(chats, attempt)` as rewards.score wants it: a service, the frozen policy, or None."""
  if not knobs.by:
    return None
  if knobs.by == "policy":
    how = dict(temperature=knobs.sampling.temperature, max_tokens=knobs.sampling.max_tokens)
    return _kept(functools.partial(policy.using(_copy(policy.params)).complete, **how))
  if knobs.by != "service":
    raise ValueError(f"{where}.by is {knobs.by!r}; known: 'service', 'policy', or '' for nobody")
  folder.mkdir(parents=True, exist_ok=True)
  client = stack.enter_context(
    chat.Client(
      knobs.model,
      cache=folder / "calls.sqlite",
      endpoint=chat.Endpoint(**knobs.endpoint),
      budget=chat.Budget(**knobs.budget),
      where=where,
    )
  )
  return lambda chats, attempt: [
    reply.text for reply in client.ask(chats, chat.Sampling(attempt=attempt, **knobs.sampling))
  ]


def _kept(complete):
  """`ask` of a policy that is frozen: what it has answered it is not asked again.

  An answer hangs on its weights, the chat and the attempt alone, so that it holds for all rollouts,
  and a resumed run, which begins without any, gets the same ones. (Of the policy that learns none
  would hold for longer than a step.)
  """
  known = {}

  def ask(chats, attempt):
    names = [hashlib.sha256(json.dumps([chat, attempt]).encode()).digest() for chat in chats]
    new = {name: chat for name, chat in zip(names, chats, strict=True) if name not in known}
    # Also where nothing is new: other processes sample with this one.
    groups = complete([*new.values()], seed=attempt)
    known.update(zip(new, (group[0].text for group in groups), strict=True))
    return [known[name] for name in names]

  return ask


def _copy(params):
  return jax.tree.map(lambda x: x.copy(), params)
