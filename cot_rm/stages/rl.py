"""Reinforcement learning: sample a group of judgements per prompt, score them, train on them."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import nnx

from cot_rm import (
  chat,
  distributed,
  judge,
  metrics,
  optim,
  registry,
  reward_judge,
  rewards,
  rollout,
  schema,
  sharding,
  stages,
  train,
  vision_check,
)
from cot_rm.algorithms import (
  ALGORITHMS,
  advantage_estimators,
  aggregation,
  importance_correction,
  interface,
  policy_gradient,
)
from cot_rm.batch import Batch
from cot_rm.benchmarks import pairs
from cot_rm.checkpoints import train_state
from cot_rm.data import bad_examples, identity, packing, pipeline, selection
from cot_rm.sampler import sampling
from cot_rm.stages import common, preflight_rl, validation

Metrics = dict[str, Any]  # numbers, of the host or of a device

preflight = preflight_rl.check


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Trains a policy on pairs with a gold answer and no reasoning, by one of ALGORITHMS.

  No rollout is sampled ahead across a checkpoint, so that a resumed run ends bit for bit like an
  uninterrupted one. A loss that is not finite raises FloatingPointError, or, by the knob
  on_nonfinite, ends the stage with the current parameters; the step itself is not taken.
  """
  section = common.section_name(config, name, "rl")
  folder, knobs = workdir / name, config[section]
  preflight_rl.check_knobs(config, section)
  how = preflight_rl.rollout_config(config, knobs)
  policy = common.load_judge(
    config,
    workdir,
    knobs.start,
    max_prompts=preflight_rl.at_a_time(knobs),
    max_pixels=knobs.max_pixels,
  )
  validate = validation.make(config, workdir, name, policy)
  skips = common.open_skips(config, workdir, name)
  source = _examples(config, workdir, knobs, skips)
  data, examples = _prompts(config, knobs, policy, source, skips), identity.describe(source)
  learner, state = _init_learner(knobs, policy)

  checkpoints = train_state.TrainCheckpoints(folder / "checkpoints", keep=1)
  first, seconds, nonfinite = 0, 0.0, False
  if restored := checkpoints.restore_latest(state):
    first, state, extra = restored
    common.check_continued(config, folder, extra, examples, source)
    common.restore_position(extra, data, skips)
    seconds, nonfinite = extra["seconds"], extra["fell"]
    logging.info("%s: continues from rollout %d", name, first)

  done = first  # rollouts trained on
  with contextlib.ExitStack() as stack:
    ask = _judge_model(stack, knobs.judge, folder, policy, f"config.{section}.judge")
    beside = knobs.judge.by != "policy"  # that judge needs the engine
    rollouts = rollout.Rollouts(data, policy, how, ask, score_in_thread=beside)
    stack.enter_context(rollouts)
    stack.enter_context(checkpoints)  # leaving waits for the checkpoint that is being written
    writer = stack.enter_context(metrics.Writer(folder))
    bar = stack.enter_context(metrics.bar(name, total=knobs.rollouts, done=first))
    while done < knobs.rollouts and not nonfinite:
      began, i, done = time.monotonic(), done, done + 1
      last = done == knobs.rollouts
      saves = last or done % knobs.save_every == 0
      # 1. Sample with the current weights; an async rollout has those before the last updates.
      sampled = rollouts.take(i, state.params)
      if knobs.async_rollouts and not saves:
        rollouts.start(done, train.copy_params(state.params))
      waited = time.monotonic() - began

      # 2. Score, and compute advantages. The reference runs while a service may still judge.
      kl_QGT, kl_metrics = _reference_kl(learner, sampled)
      waiting = time.monotonic()
      scored = sampled.scored()
      waited += time.monotonic() - waiting
      advantages, found = _advantages(learner, scored, kl_QGT)
      out = {**scored.metrics, **kl_metrics, **found, **skips.metrics()}

      # 3. Minibatches of the groups that are trained on.
      batches, found = _batches(learner, state.params, scored, advantages)
      out |= found
      if i == first or done % knobs.vision_check_every == 0:
        with learner.scope():
          shift = vision_check.logp_shift(learner.logps, state.params, batches[0])
        out["vision/logp_shift"] = shift

      # 4. Updates: `epochs` passes over the minibatches.
      updating = time.monotonic()
      state, found, nonfinite = _updates(learner, state, batches, i)
      now = time.monotonic()
      seconds += now - began
      times = {"wait": waited, "update": now - updating, "step": now - began}
      out |= found | {f"time/{key}": value for key, value in times.items()}

      # 5. Log, validate, save.
      writer.write(done, out)
      bar.advance(reward=out["reward/total"], accuracy=out.get("reward/accuracy"))
      if nonfinite:
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
        position = common.training_position(data, skips, examples)
        checkpoints.save(done, state, {**position, "seconds": seconds, "fell": nonfinite})

  common.save_trained(folder, policy, state.params, steps=done, seconds=seconds)
  return skips.figures()


@dataclasses.dataclass(frozen=True)
class _Learner:
  """The compiled programs of a run, and everything else that is constant over its rollouts."""

  knobs: common.Section
  policy: judge.Judge  # its programs, mesh and processor; the parameters are in the TrainState
  algorithm: interface.Algorithm
  settings: Any  # the algorithm's Config
  correction: importance_correction.Config
  batch_sizes: tuple[int, ...]  # groups that a minibatch may hold, ascending
  schedule: optim.Schedule
  step: train.Step
  logps: train.Logps
  reference: nnx.State | None  # parameters of the frozen reference; None without a KL penalty

  def scope(self) -> contextlib.AbstractContextManager[None]:
    """The ambient mesh and rules of the programs."""
    return sharding.use(self.policy.mesh, self.policy.rules)

  def put(self, batch: Batch) -> Batch:
    """A Batch of host arrays, this process's rows, on the devices."""
    return distributed.shard_batch(batch, self.policy.mesh, self.policy.rules)


def _examples(
  config: common.Section, workdir: epath.Path, knobs: common.Section, skips: bad_examples.Skips
) -> Sequence[schema.Example]:
  """The pairs to train on."""
  opened = common.open_examples(config, workdir, knobs.data, knobs.split)
  return selection.select(
    common.count_bad_records(opened, skips),
    tasks=common.parse_tasks(knobs.tasks),
    min_attempts=knobs.min_attempts,
    order=knobs.order,
    needs_gold=rewards.needs_gold(knobs.rewards),
    left_out=lambda index, error: skips.add(f"row {index + 1}", error),
  )


def _prompts(
  config: common.Section,
  knobs: common.Section,
  policy: judge.Judge,
  source: Sequence[schema.Example],
  skips: bad_examples.Skips,
) -> pipeline.ResumableIterator[list[list[rollout.EncodedPrompt]]]:
  """Iterator of batches of encoded prompts, one list from rollout.encoded_prompts per example."""
  both_orders = "swap" in knobs.rewards
  encode = functools.partial(policy.encode, grammar=config.grammar)
  return pipeline.prompt_batches(
    source,
    lambda example: rollout.encoded_prompts(example, encode, both_orders),
    seed=config.seed if knobs.order == "shuffled" else None,
    batch=knobs.prompts // 2 if both_orders else knobs.prompts,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
    skips=skips,
  )


def _init_learner(knobs: common.Section, policy: judge.Judge) -> tuple[_Learner, train.TrainState]:
  """(the _Learner, the TrainState before the first step)."""
  algorithm = registry.lookup(ALGORITHMS, knobs.algorithm, "algorithm")
  settings = algorithm.Config(
    **knobs.settings[knobs.algorithm], max_tokens=knobs.sampling.max_tokens
  )
  steps = knobs.rollouts * knobs.minibatches * knobs.epochs  # of the optimizer
  tx, schedule = optim.make(steps=steps, **knobs.optim)
  # The state's buffers are donated to each step: the frozen reference needs its own.
  reference = train.copy_params(policy.params) if settings.kl else None
  state, shardings = train.init_state(policy.params, tx, policy.mesh, policy.rules)

  def loss(
    logps_BT: jax.Array, batch: Batch, weights_BT: jax.Array
  ) -> tuple[jax.Array, interface.Metrics]:
    return algorithm.loss(logps_BT, batch, weights_BT, settings)

  weights = lambda batch: aggregation.token_weights(batch, settings.aggregate, settings.max_tokens)
  shards = sharding.num_batch_shards(policy.mesh, policy.rules) * knobs.accumulate
  how = dict(accumulate=knobs.accumulate, temperature=sampling.Sampling(**knobs.sampling).logps_at)
  step = train.make_step(
    policy.graphdef,
    loss,
    tx,
    shardings,
    token_weights=weights,
    frozen=knobs.optim.frozen,
    **how,
  )
  return _Learner(
    knobs=knobs,
    policy=policy,
    algorithm=algorithm,
    settings=settings,
    correction=importance_correction.Config(**knobs.correction),
    batch_sizes=_batch_sizes(knobs.train_prompts // knobs.minibatches, shards),
    schedule=schedule,
    step=step,
    logps=train.make_logps(policy.graphdef, **how),
    reference=reference,
  ), state


def _batch_sizes(groups: int, shards: int) -> tuple[int, ...]:
  """Allowed numbers of groups per minibatch, ascending: `groups`, and its half if that divides.

  Late in a run most groups have no variance and few are trained on: the half saves time. The
  global batch of all processes must be divisible by `shards`.
  """
  half, odd = divmod(groups, 2)
  return (groups,) if odd or half * jax.process_count() % shards else (half, groups)


def _judge_model(
  stack: contextlib.ExitStack,
  knobs: common.Section,
  folder: epath.Path,
  policy: judge.Judge,
  where: str,
) -> rewards.Ask | None:
  """The `ask` function of the rewards: a chat service or the frozen start policy answers; or None.

  Args:
    stack: closes the client of a service.
    knobs: the section `where` of the config (such as "config.rl.judge"), of the judge model.
    folder: holds the answer cache of a service.
    policy: the policy before training.
    where: names the section in error messages.
  """
  if not knobs.by:
    return None
  if knobs.by == "policy":
    frozen = policy.using(train.copy_params(policy.params))
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


def _reference_kl(learner: _Learner, sampled: rollout.Sampled) -> tuple[np.ndarray | None, Metrics]:
  """(log-ratio of the sampling policy to the reference, f32[Q, G, T]; its metrics).

  (None, {}) without a KL penalty in the reward.
  """
  if learner.reference is None or learner.algorithm.KL_IN != "reward":
    return None, {}
  groups = [rollout.items(judgement) for judgement in sampled.judged]
  batch = packing.groups(groups, learner.policy.buckets, rows=len(groups))
  with learner.scope():
    ref_logps = distributed.to_local(learner.logps(learner.reference, learner.put(batch)))
  old_logps = policy_gradient.old_logps(batch)
  kl_QGT = np.reshape(old_logps - ref_logps, (len(groups), learner.knobs.group, -1))
  return kl_QGT, policy_gradient.kl(old_logps, ref_logps, batch.mask)


def _advantages(
  learner: _Learner, scored: rollout.Rollout, kl_QGT: np.ndarray | None
) -> tuple[np.ndarray, Metrics]:
  """(advantages of this process's samples, f32[Q, G] or f32[Q, G, T]; their metrics).

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


def _batches(
  learner: _Learner, params: nnx.State, scored: rollout.Rollout, advantages: np.ndarray
) -> tuple[list[Batch], Metrics]:
  """(one Batch on the devices per minibatch; the metrics of all minibatches)."""
  knobs = learner.knobs
  chosen = scored.train_groups(knobs.zero_variance, knobs.train_prompts, least=knobs.minibatches)
  batches, corrections = [], []
  for groups in np.array_split(chosen, knobs.minibatches):
    most = distributed.all_gather_host([len(groups)]).max()  # of all processes: sizes are equal
    packed = packing.groups(
      [rollout.items(scored.judged[q], advantages[q]) for q in groups],
      learner.policy.buckets,
      rows=next(size for size in learner.batch_sizes if size >= most),
    )
    batch = learner.put(packed)
    with learner.scope():
      if learner.reference is not None and learner.algorithm.KL_IN == "loss":
        batch = dataclasses.replace(batch, ref_logps=learner.logps(learner.reference, batch))
      if learner.correction.enabled:
        batch, found = _corrected(learner, params, batch)
        corrections.append(found)
    batches.append(batch)
  used = (scored.spread_Q[chosen] > 0).sum()
  return batches, {"rl/used_groups": used} | _over_minibatches(corrections)


def _corrected(learner: _Learner, params: nnx.State, batch: Batch) -> tuple[Batch, Metrics]:
  """(the batch with the trainer's own old_logps and corrected advantages, metrics)."""
  old_logps = learner.logps(params, batch)
  batch = dataclasses.replace(batch, sampler_logps=batch.old_logps, old_logps=old_logps)
  weights_BT, found = importance_correction.importance_weights(batch, learner.correction)
  advantages_BT = policy_gradient.advantages(batch) * weights_BT
  return dataclasses.replace(batch, advantages=advantages_BT), found


def _updates(
  learner: _Learner, state: train.TrainState, batches: list[Batch], i: int
) -> tuple[train.TrainState, Metrics, bool]:
  """`epochs` passes over the minibatches of rollout i.

  Returns:
    (state, metrics, whether a loss or a gradient was not finite).

  Raises:
    FloatingPointError: it was not, and the knob on_nonfinite is "raise".
  """
  steps, learning_rate = [], 0.0
  for batch in batches * learner.knobs.epochs:
    learning_rate = float(learner.schedule(int(state.step)))
    with learner.scope():
      state, found = learner.step(state, batch, learning_rate)
    if learner.knobs.on_nonfinite == "raise":
      train.check_finite(found, i)
    steps.append({key: float(value) for key, value in found.items()})
  finite = np.isfinite([(step["train/loss"], step["train/grad_norm"]) for step in steps]).all()
  return state, _over_minibatches(steps) | {"train/lr": learning_rate}, not finite


def _over_minibatches(found: Sequence[Mapping[str, Any]]) -> Metrics:
  """Metrics of a rollout from those of its steps: the mean; for keys that end in _max the maximum.

  "agree/..." are those of the first step, at which trainer and sampler have the same weights.
  """
  out = {}
  for key in found[0] if found else ():
    values = [float(metrics[key]) for metrics in found]
    # numpy keeps a NaN among the values, which Python's max may lose.
    together = float(np.max(values) if key.endswith("_max") else np.mean(values))
    out[key] = values[0] if key.startswith("agree/") else together
  return out
