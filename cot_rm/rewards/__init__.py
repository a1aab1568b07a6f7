"""What is rewarded. To add one: write the module, add the line.

A reward module has `reward(completions, examples, grammar) -> list[float]`: flat lists in step, and
a module of cot_rm.prompts. NaN says that this sample cannot be rewarded; 0 says that it failed.
"""

import difflib
import math

import numpy as np
from absl import logging

from cot_rm.rewards import accuracy, chain
from cot_rm.rewards import format as form

REWARDS = {
  "format": form.reward,
  "accuracy": accuracy.reward,
  "chain": chain.reward,
}


def score(groups, examples, grammar, weights):
  """The weighted sum of rewards.

  Args:
    groups: Q lists of G completions each.
    examples: the Q examples that they answer.
    grammar: a module of cot_rm.prompts.
    weights: {name in REWARDS: weight}. A weight of 0 logs the reward and leaves it out of the sum.

  Returns:
    rewards_QG: f32[Q, G]; NaN where a reward with a weight has none to give.
    metrics: "reward/<name>", the mean over samples that have it; "reward/total"; "reward/failed",
      the number of samples that lack one.

  Raises:
    ValueError: unknown names, ragged groups, and whatever a reward raises on every single sample.
  """
  unknown = [name for name in weights if name not in REWARDS]
  if unknown or not weights:
    near = difflib.get_close_matches(unknown[0], REWARDS, 1) if unknown else ()
    hint = f"; did you mean {near[0]!r}?" if near else "."
    named = f"unknown reward {unknown[0]!r}{hint}" if unknown else "no reward named."
    raise ValueError(f"{named} Known: {', '.join(REWARDS)}")
  if len(groups) != len(examples):
    raise ValueError(f"{len(groups)} groups of completions for {len(examples)} examples")
  for group, example in zip(groups, examples, strict=True):
    if len(group) != len(groups[0]):
      raise ValueError(
        f"example {example.id!r}: {len(group)} completions where the first group "
        f"has {len(groups[0])}"
      )
  flat = [completion for group in groups for completion in group]
  paired = [example for group, example in zip(groups, examples, strict=True) for _ in group]
  total, missing, metrics = np.zeros(len(flat)), np.zeros(len(flat), bool), {}
  for name, weight in weights.items():
    part = _part(name, flat, paired, grammar)
    missing |= np.isnan(part)
    metrics[f"reward/{name}"] = _mean(part)
    if weight:
      total += weight * part
  metrics |= {"reward/total": _mean(total), "reward/failed": float(missing.sum())}
  return total.reshape(len(groups), -1).astype(np.float32), metrics


def _part(name, completions, examples, grammar):
  """f64[Q * G] of one reward. A sample that it raises on is logged and NaN; raises if all are."""
  reward = REWARDS[name]
  try:
    out = reward(completions, examples, grammar)
  except Exception:  # any reward may be named; one at a time, the sample shows
    out = _one_by_one(name, completions, examples, grammar)
  if len(out) != len(completions):
    raise ValueError(f"reward {name!r} gave {len(out)} numbers for {len(completions)} completions")
  return np.array(out, np.float64)


def _one_by_one(name, completions, examples, grammar):
  out, error = [], None
  for completion, example in zip(completions, examples, strict=True):
    try:
      out += REWARDS[name]([completion], [example], grammar)
    except Exception as caught:  # logged, counted, raised if it is all of them
      logging.warning("reward %r failed on example %r: %r", name, example.id, caught)
      out.append(math.nan)
      error = caught
  if error is not None and np.isnan(out).all():
    raise error
  return out


def _mean(values):
  known = values[~np.isnan(values)]
  return float(known.mean()) if known.size else math.nan
