"""Reinforcement learning: sample a group of judgements per prompt, score them, train on them."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import time
import types

import jax
import numpy as np
from absl import logging

from cot_rm import (
  chat,
  distributed,
  judge,
  metrics,
  optim,
  prompts,
  registry,
  reward_judge,
  rewards,
  rollout,
  sharding,
  train,
  vision_check,
)
from cot_rm.algorithms import (
  ALGORITHMS,
  advantage_estimators,
  aggregation,
  importance_correction,
  policy_gradient,
)
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import train_state
from cot_rm.data import datasets, packing, pipeline, selection
from cot_rm.sampler import sampling
from cot_rm.stages import common


def run(config, workdir, name):
  """Trains a policy on pairs with a gold answer and no reasoning, by one of ALGORITHMS.

  After a checkpoint sampling begins anew, so that a resumed run ends bit for bit like an
  uninterrupted one. A loss that is not finite raises, or ends the stage with the model that it has.
  """
  section = common.section_name(config, name, "rl")
  folder, knobs = workdir / name, config[section]
  _check_knobs(config, section)
  policy = common.load_judge(
    config,
    workdir,
    knobs.start,
    max_prompts=min(knobs.max_prompts or knobs.prompts, knobs.prompts),
    max_pixels=knobs.max_pixels,
  )
  validate = common.make_validation(config, workdir)
  data = _prompts(config, workdir, knobs, policy)
  learner, state = _init_learner(knobs, policy)

  checkpoints = train_state.TrainCheckpoints(folder / "checkpoints", keep=1)
  first, seconds, fell = 0, 0.0, False
  if restored := checkpoints.restore_latest(state):
    first, state, extra = restored
    data.set_state(extra["data"])
    seconds, fell = extra["seconds"], extra["fell"]
    logging.info("%s: continues from rollout %d", name, first)

  done = first
  with contextlib.ExitStack() as stack:
    sample = _make_sample(stack, config, workdir, name, policy, data)
    rollouts = stack.enter_context(rollout.Rollouts(sample))
    stack.enter_context(checkpoints)  # leaving waits for the checkpoint that is being written
    writer = stack.enter_context(metrics.Writer(folder))
    bar = stack.enter_context(metrics.bar(name, total=knobs.rollouts, done=first))
    while done < knobs.rollouts and not fell:
      began, i, done = time.monotonic(), done, done + 1
      last = done == knobs.rollouts
      saves = last or done % knobs.save_every == 0
      # 1. Sample with the weights of now, or with those from before the last update.
      sampled = rollouts.take(i, state.params)
      if knobs.async_rollouts and not saves:
        rollouts.start(done, _copy(state.params))
      waited = time.monotonic() - began

      # 2. Score, and compute advantages. The reference reads while a service may still be judging.
      kl_QGT, kl_metrics = _reference_kl(learner, sampled)
      waiting = time.monotonic()
      scored = sampled.scored()
      waited += time.monotonic() - waiting
      advantages, found = _advantages(learner, scored, kl_QGT)
      out = {**scored.metrics, **kl_metrics, **found}

      # 3. Minibatches of the groups that are trained on.
      batches, found = _batches(learner, state.params, scored, advantages)
      out |= found
      if i == first or done % knobs.vision_check_every == 0:
        with learner.scope():
          out["vision/logp_shift"] = vision_check.logp_shift(
            learner.logps, state.params, batches[0]
          )

      # 4. Updates: `epochs` passes over the minibatches.
      updating = time.monotonic()
      state, found, fell = _updates(learner, state, batches, i)
      now = time.monotonic()
      seconds += now - began
      times = {"wait": waited, "update": now - updating, "step": now - began}
      out |= found | {f"time/{key}": value for key, value in times.items()}

      # 5. Log, validate, save.
      writer.write(done, out)
      bar.advance(reward=out["reward/total"], accuracy=out.get("reward/accuracy"))
      if fell:
        logging.error("%s: the loss is not finite: the stage ends at rollout %d", name, done)
        last = saves = True
      if last or done % knobs.samples_every == 0:
        writer.write_samples(done, scored.records())
      if last or done % knobs.eval_every == 0:
        rollouts.wait()  # the engine serves one caller at a time
        figures = validate(policy.using(state.params))
        writer.write(done, pairs.to_metrics("check", figures))
        logging.info("%s step %d: %s", name, done, pairs.summary_line(figures))
      if saves:
        extra = {"data": data.get_state(), "seconds": seconds, "fell": fell}
        checkpoints.save(done, state, extra)

  common.save_trained(folder, policy, state.params, steps=done, seconds=seconds)


@dataclasses.dataclass(frozen=True)
class _Learner:
  """The compiled programs of a run, and what they are fed with."""

  knobs: object
  policy: judge.Judge
  algorithm: types.ModuleType  # of ALGORITHMS
  settings: object  # the algorithm's Config
  correction: importance_correction.Config
  batch_sizes: tuple[int, ...]  # groups that a minibatch may hold, ascending
  schedule: object  # learning rate by step
  step: object  # see train.make_step
  logps: object  # see train.make_logps
  reference: object  # parameters of the frozen reference; None without a KL term

  def scope(self):
    """The ambient mesh and rules of the programs."""
    return sharding.use(self.policy.mesh, self.policy.rules)

  def kl_in(self, place):
    """Whether the KL term is there, in the "loss" or in the "reward"."""
    return bool(self.settings.kl) and self.algorithm.KL_IN == place

  def put(self, batch):
    """A Batch of host arrays, this process's rows, on the devices."""
    return distributed.shard_batch(batch, self.policy.mesh, self.policy.rules)


def _check_knobs(config, name):
  """Raises ValueError for knobs of the section `name` that do not fit together."""
  knobs = config[name]
  if not knobs.judge.by and rewards.asks(knobs.rewards, prompts.get(config.grammar)):
    raise ValueError(
      f"config.{name}.rewards weighs whether a verdict follows from its reasoning; grammar "
      f"{config.grammar!r} has no scores that would decide it, and config.{name}.judge.by asks "
      f"nobody: 'service' asks the model of config.{name}.judge, 'policy' the policy itself"
    )
  if knobs.judge.by not in ("", "service", "policy"):
    raise ValueError(
      f"config.{name}.judge.by is {knobs.judge.by!r}; known: 'service', 'policy', or '' for nobody"
    )
  if knobs.train_prompts % knobs.minibatches:
    raise ValueError(
      f"config.{name}.train_prompts is {knobs.train_prompts}, which cannot be split into "
      f"{knobs.minibatches} equal minibatches (config.{name}.minibatches)"
    )
  if knobs.async_rollouts and jax.process_count() > 1:
    raise ValueError(
      f"config.{name}.async_rollouts is {knobs.async_rollouts} on {jax.process_count()} processes: "
      f"two threads would launch the train step and the sampler's programs, in an order that may "
      f"differ between processes, and collectives of different programs would wait for each other; "
      f"set it to 0"
    )


def _prompts(config, workdir, knobs, policy):
  """An iterator of lists of what rollout.encoded_prompts returns."""
  source = selection.select(
    datasets.open(common.resolve_path(workdir, knobs.data), knobs.split),
    tasks=common.parse_tasks(knobs.tasks),
    min_attempts=knobs.min_attempts,
    order=knobs.order,
  )
  both_orders = "swap" in knobs.rewards
  encode = functools.partial(policy.encode, grammar=config.grammar)
  return pipeline.prompt_batches(
    source,
    lambda example: rollout.encoded_prompts(example, encode, both_orders),
    seed=config.seed if knobs.order == "shuffled" else None,
    batch=knobs.prompts // 2 if both_orders else knobs.prompts,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def _init_learner(knobs, policy):
  """(the _Learner, the TrainState before the first step)."""
  algorithm = registry.lookup(ALGORITHMS, knobs.algorithm, "algorithm")
  settings = algorithm.Config(
    **knobs.settings[knobs.algorithm], max_tokens=knobs.sampling.max_tokens
  )
  steps = knobs.rollouts * knobs.minibatches * knobs.epochs  # of the optimizer
  tx, schedule = optim.make(steps=steps, **knobs.optim)
  # The state's buffers are donated to each step: the frozen reference needs its own.
  reference = _copy(policy.params) if settings.kl else None
  state, shardings = train.init_state(policy.params, tx, policy.mesh, policy.rules)

  def loss(logps_BT, batch, weights_BT):
    return algorithm.loss(logps_BT, batch, weights_BT, settings)

  def token_weights(batch):
    return aggregation.token_weights(batch, settings.aggregate, settings.max_tokens)

  shards = sharding.num_batch_shards(policy.mesh, policy.rules) * knobs.accumulate
  return _Learner(
    knobs=knobs,
    policy=policy,
    algorithm=algorithm,
    settings=settings,
    correction=importance_correction.Config(**knobs.correction),
    batch_sizes=_batch_sizes(knobs.train_prompts // knobs.minibatches, shards),
    schedule=schedule,
    step=train.make_step(
      policy.graphdef, loss, tx, shardings, token_weights=token_weights, accumulate=knobs.accumulate
    ),
    logps=train.make_logps(policy.graphdef, accumulate=knobs.accumulate),
    reference=reference,
  ), state


def _batch_sizes(groups, shards):
  """Groups that a minibatch may hold, ascending: `groups`, and half of them.

  Late in a run most groups have no variance and few are trained on. The batch of all processes is
  cut into `shards` equal parts.
  """
  half, odd = divmod(groups, 2)
  return (groups,) if odd or half * jax.process_count() % shards else (half, groups)


def _make_sample(stack, config, workdir, name, policy, data):
  """`(number of the rollout, parameters) -> rollout.Sampled`; what it needs is open until `stack`
  is left."""
  section = common.section_name(config, name, "rl")
  knobs = config[section]
  ask = _judge_model(stack, knobs.judge, workdir / name, policy, f"config.{section}.judge")
  how = rollout.Config(
    grammar=config.grammar,
    group=knobs.group,
    sampling=sampling.Sampling(**knobs.sampling),
    seed=config.seed,
    rewards=knobs.rewards.to_dict(),
    zero_variance=knobs.zero_variance,
    train_prompts=knobs.train_prompts,
    max_resample_rounds=knobs.max_resample_rounds,
  )
  # Rewards are computed beside sampling and training, unless the sampler itself is the judge.
  scorer = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
  later = None if knobs.judge.by == "policy" else scorer

  def sample(i, params):
    return rollout.sample_rollout(data, policy.using(params), i, how, ask, later)

  return sample


def _judge_model(stack, knobs, folder, policy, where):
  """The judge model that rewards ask: a service, the policy as it is before training, or None."""
  if not knobs.by:
    return None
  if knobs.by == "policy":
    frozen = policy.using(_copy(policy.params))
    settings = dict(temperature=knobs.sampling.temperature, max_tokens=knobs.sampling.max_tokens)
    return reward_judge.of_frozen_policy(functools.partial(frozen.complete, **settings))
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
  return reward_judge.of_service(client, chat.Sampling(**knobs.sampling))


def _reference_kl(learner, sampled):
  """The log-ratio of the sampling policy to the reference, where the KL term is in the reward.

  Returns:
    (f32[Q, G, T] or None, metrics of it).
  """
  if not learner.kl_in("reward"):
    return None, {}
  groups = [rollout.items(judgement) for judgement in sampled.judged]
  batch = packing.groups(groups, learner.policy.buckets, rows=len(groups))
  with learner.scope():
    ref_logps = distributed.to_local(learner.logps(learner.reference, learner.put(batch)))
  kl_QGT = (batch.old_logps - ref_logps).reshape(len(groups), learner.knobs.group, -1)
  return kl_QGT, policy_gradient.kl(batch.old_logps, ref_logps, batch.mask)


def _advantages(learner, scored, kl_QGT):
  """(advantages of this process's samples, f32[Q, G] or f32[Q, G, T]; metrics of them).

  They are computed from the rewards of all processes.
  """
  rewards_QG, lengths_QG = map(distributed.all_gather_host, (scored.rewards_QG, scored.lengths_QG))
  if kl_QGT is not None:
    kl_QGT = distributed.all_gather_host(kl_QGT)
  advantages = distributed.own_rows(
    learner.algorithm.advantages(rewards_QG, lengths_QG, learner.settings, kl_QGT)
  )
  out = advantage_estimators.effective_groups(advantages)
  if "accuracy" in scored.parts:
    right_QG = scored.parts["accuracy"]
    out |= advantage_estimators.zero_advantages(advantages, scored.lengths_QG, right_QG)
  return advantages, out


def _batches(learner, params, scored, advantages):
  """(a Batch on the devices for each minibatch, metrics of them)."""
  knobs = learner.knobs
  chosen = scored.train_groups(knobs.zero_variance, knobs.train_prompts, least=knobs.minibatches)
  batches, corrections = [], []
  for groups in np.array_split(chosen, knobs.minibatches):
    most = distributed.all_gather_host(
      [len(groups)]
    ).max()  # all processes have batches of one size
    packed = packing.groups(
      [rollout.items(scored.judged[q], advantages[q]) for q in groups],
      learner.policy.buckets,
      rows=next(size for size in learner.batch_sizes if size >= most),
    )
    batch = learner.put(packed)
    with learner.scope():
      if learner.kl_in("loss"):
        batch = dataclasses.replace(batch, ref_logps=learner.logps(learner.reference, batch))
      if learner.correction.enabled:
        batch, found = _corrected(learner, params, batch)
        corrections.append(found)
    batches.append(batch)
  used = (scored.spread_Q[chosen] > 0).sum()
  return batches, {"rl/used_groups": used} | _over_minibatches(corrections)


def _corrected(learner, params, batch):
  """(the batch with the trainer's own old_logps and corrected advantages, metrics)."""
  old_logps = learner.logps(params, batch)
  batch = dataclasses.replace(batch, sampler_logps=batch.old_logps, old_logps=old_logps)
  factors_BT, found = importance_correction.importance_weights(batch, learner.correction)
  return dataclasses.replace(batch, advantages=batch.advantages * factors_BT), found


def _updates(learner, state, batches, i):
  """`epochs` passes over the minibatches of rollout i.

  Returns:
    (state, metrics, whether a loss or a gradient was not finite).

  Raises:
    FloatingPointError: it was not, and the knob on_nonfinite is "raise".
  """
  steps = []
  for batch in batches * learner.knobs.epochs:
    lr = float(learner.schedule(int(state.step)))
    with learner.scope():
      state, found = learner.step(state, batch, lr)
    if learner.knobs.on_nonfinite == "raise":
      train.check_finite(found, i)
    steps.append({key: float(value) for key, value in found.items()})
  finite = all(
    np.isfinite([found["train/loss"], found["train/grad_norm"]]).all() for found in steps
  )
  return state, _over_minibatches(steps) | {"train/lr": lr}, not finite


def _over_minibatches(found):
  """Metrics of a rollout from those of each step: means, and of keys that end in _max maxima.

  "agree/..." compare with the sampler, whose weights the first step has: they are its own.
  """
  out = {}
  for key in found[0] if found else ():
    values = [float(metrics[key]) for metrics in found]
    if key.startswith("agree/"):
      out[key] = values[0]
    else:  # numpy keeps a NaN among the values, which Python's max may lose
      out[key] = float(np.max(values) if key.endswith("_max") else np.mean(values))
  return out


def _copy(params):
  return jax.tree.map(lambda x: x.copy(), params)
