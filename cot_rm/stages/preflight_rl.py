"""Checks of the stage rl before it runs: its pairs, and the sizes of a rollout."""

import math

import jax
from etils import epath

from cot_rm import optim, prompts, registry, rewards, rollout
from cot_rm.algorithms import ALGORITHMS, importance_correction
from cot_rm.sampler import sampling
from cot_rm.stages import common, preflight, preflight_examples, preflight_memory

ORDERS = ("shuffled", "ascending")  # selection.Order


def check(config: common.Section, workdir: epath.Path, name: str) -> preflight.Checks:
  """Checks the model, the pairs and their lengths, the sizes of a rollout, room on disk."""
  section, checks = common.section_name(config, name, "rl"), preflight.Checks(name)
  knobs, where = config[section], f"config.{section}"
  with checks.catching():
    check_knobs(config, section)
  with checks.catching():
    rollout_config(config, knobs)
  if knobs.judge.by == "service":
    preflight.check_service(checks, knobs.judge, f"{where}.judge")
  preflight.check_choice(checks, f"{where}.order", knobs.order, ORDERS)
  _check_sizes(checks, config, section)
  folder = preflight.check_start(checks, config, workdir, section)
  preflight_memory.check(
    checks,
    config,
    folder,
    max_tokens=(f"{where}.sampling.max_tokens", knobs.sampling.max_tokens),
    prompts=(f"{where}.max_prompts", at_a_time(knobs)),
    samples=(f"{where}.group", knobs.group),
  )
  if knobs.judge.by == "policy":
    preflight_memory.check(
      checks,
      config,
      folder,
      max_tokens=(f"{where}.judge.sampling.max_tokens", knobs.judge.sampling.max_tokens),
      prompts=(f"{where}.max_prompts", at_a_time(knobs)),
    )
  tasks = preflight.check_tasks(checks, knobs)
  with checks.catching():
    rows = preflight_examples.check_training(
      checks,
      config,
      workdir,
      section,
      folder=folder,
      rules=[preflight_examples.fits(common.buckets(config))],
      takes=preflight_examples.for_rl(where, tasks, knobs.min_attempts, knobs.order),
      swapped="swap" in knobs.rewards,
      max_pixels=knobs.max_pixels,
    )
    checks.require(
      not rows or not rewards.needs_gold(knobs.rewards) or any(row.gold for row in rows),
      f"none of {len(rows):,} examples of {knobs.data} has a gold answer, which a reward "
      f"compares the verdict with; give gold, 1 or 2",
    )
  preflight_examples.check_validation(
    checks,
    config,
    workdir,
    folder,
    prompts=(f"{where}.max_prompts", at_a_time(knobs)),
    max_pixels=knobs.max_pixels,
  )
  return checks


def at_a_time(knobs: common.Section) -> int:
  """Prompts that are answered at the same time, at most, by the section of a stage."""
  return min(knobs.max_prompts or knobs.prompts, knobs.prompts)


def _check_sizes(checks: preflight.Checks, config: common.Section, section: str) -> None:
  """The numbers of prompts and groups against the devices, and the answers against the buckets."""
  knobs, where = config[section], f"config.{section}"
  buckets = common.buckets(config)
  longest = max(buckets.answers, default=0)
  checks.require(
    knobs.sampling.max_tokens <= longest,
    f"{where}.sampling.max_tokens is {knobs.sampling.max_tokens:,}, and the largest bucket of an "
    f"answer is {longest:,}; raise config.buckets.answers or lower max_tokens",
  )
  shards = preflight.check_mesh(checks, config, rules="train_rules")
  for parts, why in ((shards, "shards of a batch"), (knobs.accumulate, "microbatches")):
    preflight.check_divides(
      checks, f"{where}.train_prompts", knobs.train_prompts, parts, why, per=knobs.minibatches
    )
  for reward, weight in knobs.rewards.items():
    checks.require(
      isinstance(weight, int | float) and math.isfinite(weight),
      f"{where}.rewards.{reward} is {weight!r}; it is a weight, a number",
    )
  check_learning(checks, knobs, where)
  if "swap" in knobs.rewards:
    preflight.check_divides(
      checks, f"{where}.prompts", knobs.prompts, 2 * jax.process_count(), "orders of a pair"
    )
  with checks.catching():
    algorithm = registry.lookup(ALGORITHMS, knobs.algorithm, "algorithm")
    checks.require(
      knobs.group != 1 or knobs.algorithm not in ("grpo", "rloo"),
      f"{where}.group is 1, and {knobs.algorithm} compares the samples of a prompt with each "
      f"other; set it to 2 or more",
    )
    settings = algorithm.Config(
      **knobs.settings[knobs.algorithm], max_tokens=knobs.sampling.max_tokens
    )
    if settings.kl and algorithm.KL_IN == "reward":
      preflight.check_divides(
        checks, f"{where}.prompts", knobs.prompts, shards, "shards of a batch"
      )
    optim.make(steps=1, **knobs.optim)


def check_learning(checks: preflight.Checks, knobs: common.Section, where: str) -> None:
  """Combinations under which the stage would run, and learn from nothing or from less than said."""
  rounds = knobs.max_resample_rounds if knobs.zero_variance == "resample" else 1
  sampled = knobs.prompts * rounds
  times = f" in each of {rounds} rounds ({where}.max_resample_rounds)" if rounds > 1 else ""
  checks.require(
    knobs.train_prompts <= sampled,
    f"{where}.train_prompts is {knobs.train_prompts}, and a rollout has {knobs.prompts} prompts"
    f"{times} ({where}.prompts); set it to {sampled} or less, or raise {where}.prompts",
  )
  checks.require(
    knobs.group > 1 or knobs.zero_variance == "keep",
    f"{where}.group is 1, so that no reward differs within a group, and {where}.zero_variance is "
    f"{knobs.zero_variance!r}: all would be left out; set zero_variance to 'keep'",
  )
  checks.require(
    any(knobs.rewards.values()),
    f"{where}.rewards has no weight other than 0, so that all rewards would be equal",
  )
  preflight.check_sampling(checks, where, knobs.sampling, n=knobs.group, n_knob="group")


def check_knobs(config: common.Section, name: str) -> None:
  """Raises ValueError for knobs of the section `name` that do not fit together."""
  knobs = config[name]
  if rewards.asks(knobs.rewards, prompts.get(config.grammar)) and not knobs.judge.by:
    raise ValueError(
      f"config.{name}.rewards weighs whether a verdict follows from its reasoning; grammar "
      f"{config.grammar!r} has no scores that would decide it, and config.{name}.judge.by "
      f"names no judge: set it to 'service' (the model of config.{name}.judge) or 'policy' (itself)"
    )
  for knob, value, known in (
    ("judge.by", knobs.judge.by, ("service", "policy", "")),
    ("on_nonfinite", knobs.on_nonfinite, ("raise", "end")),
  ):
    if value not in known:
      raise ValueError(f"config.{name}.{knob} is {value!r}; known: {', '.join(map(repr, known))}")
  registry.lookup(ALGORITHMS, knobs.algorithm, "algorithm")
  importance_correction.Config(**knobs.correction)
  if knobs.train_prompts % knobs.minibatches:
    raise ValueError(
      f"config.{name}.train_prompts is {knobs.train_prompts}, which cannot be split into "
      f"{knobs.minibatches} equal minibatches (config.{name}.minibatches)"
    )
  if knobs.async_rollouts and jax.process_count() > 1:
    raise ValueError(
      f"config.{name}.async_rollouts is {knobs.async_rollouts} on {jax.process_count()} processes: "
      f"two threads would launch the train step and the sampler's programs in orders that may "
      f"differ between processes, whose collectives would wait for each other; set it to 0"
    )


def rollout_config(config: common.Section, knobs: common.Section) -> rollout.Config:
  """How rollouts are sampled and scored, by the section of the stage."""
  return rollout.Config(
    grammar=config.grammar,
    group=knobs.group,
    sampling=sampling.Sampling(**knobs.sampling),
    seed=config.seed,
    rewards=knobs.rewards.to_dict(),
    zero_variance=knobs.zero_variance,
    resample_by=knobs.resample_by,
    train_prompts=knobs.train_prompts,
    max_resample_rounds=knobs.max_resample_rounds,
  )
