"""What is rewarded. To add one: write the module, add the line.

A reward is `reward(completions, examples, grammar, ask)`, flat lists in step, and gives a number
for each sample: 0 says that the sample failed. A sample that cannot be rewarded gets, in the place
of its number, the reason in words. One that looks at a sample alone is written for one sample,
`reward(completion, example, grammar)`, and lifted by `_each`.
"""

import collections
import math

import numpy as np
from absl import logging

from cot_rm import registry
from cot_rm.rewards import accuracy, chain, consistency, each, swap
from cot_rm.rewards import format as form


def _each(one):
  return lambda completions, examples, grammar, ask: each.values(
    one, completions, examples, grammar
  )


REWARDS = {
  "format": _each(form.reward),
  "accuracy": _each(accuracy.reward),
  "accuracy_published": _each(accuracy.published),
  "chain": _each(chain.reward),
  "consistent": consistency.reward,
  "swap": swap.reward,
}
PRODUCTS = {  # of two of them, "accuracy" and "consistent"
  "consistency": consistency.paper,
  "consistency_released": consistency.released,
}


def asks(weights, grammar):
  """Whether a reward with a weight can only come from a judge model: `grammar` has no scores."""
  weighed = {name for name, weight in weights.items() if weight}
  return not hasattr(grammar, "sheet") and not weighed.isdisjoint({"consistent", *PRODUCTS})


def score(groups, examples, grammar, weights, ask=None):
  """The weighted sum of rewards.

  R1-Reward's Result x (1 + 0.5 x Consistency) + 0.5 x Format (arXiv:2505.02835) is
  {"accuracy": 1, "consistency": 0.5, "format": 0.5}; "consistency_released" for its released code.

  Args:
    groups: Q lists of G completions each.
    examples: the Q examples that they answer.
    grammar: a module of cot_rm.prompts.
    weights: {name in REWARDS or PRODUCTS: weight}. A weight of 0 logs the reward and leaves it out
      of the sum.
    ask: `ask(chats, attempt)` of the judge model of "consistent": a list of texts in step with the
      chats, None where none came. Another attempt, from 1 on, wants another answer. It may be left
      out: what no rule decides has no reward then.

  Returns:
    rewards_QG: f32[Q, G]; NaN where a reward with a weight has none to give.
    metrics: "reward/<name>", the mean over samples that have it, and "reward/failed/<name>", how
      many lack it, for each in `parts`; "reward/total"; "reward/failed", how many have no total.
    parts: {name: f32[Q, G]} of all that are named, and of what these are products of; NaN where a
      sample has none.

  Raises:
    ValueError: unknown names, ragged groups, and whatever a reward raises on every single sample.
  """
  _check(groups, examples, weights)
  flat = [completion for group in groups for completion in group]
  paired = [example for group, example in zip(groups, examples, strict=True) for _ in group]
  named = [name for name in weights if name not in PRODUCTS]
  if len(named) < len(weights):
    named += [name for name in ("accuracy", "consistent") if name not in named]
  values = {name: REWARDS[name](flat, paired, grammar, ask) for name in named}
  for name in weights:
    if name in PRODUCTS:
      values[name] = [*map(PRODUCTS[name], values["accuracy"], values["consistent"])]
  known = {name: _known(name, some, len(flat)) for name, some in values.items()}
  total = np.zeros(len(flat))
  for name, weight in weights.items():
    if weight:
      total += weight * known[name]
  metrics = {f"reward/{name}": _mean(part) for name, part in known.items()}
  metrics |= {f"reward/failed/{name}": float(_missing(part)) for name, part in known.items()}
  metrics |= {"reward/total": _mean(total), "reward/failed": float(_missing(total))}
  shaped = lambda x: x.reshape(len(groups), -1).astype(np.float32)
  return shaped(total), metrics, {name: shaped(part) for name, part in known.items()}


def _check(groups, examples, weights):
  every = {**REWARDS, **PRODUCTS}
  if not weights:
    raise ValueError(f"no reward named in `weights`; known: {', '.join(every)}")
  for name in weights:
    registry.lookup(every, name, "reward")
  if len(groups) != len(examples):
    raise ValueError(f"{len(groups)} groups of completions for {len(examples)} examples")
  for group, example in zip(groups, examples, strict=True):
    if len(group) != len(groups[0]):
      raise ValueError(
        f"example {example.id!r}: {len(group)} completions where the first group "
        f"has {len(groups[0])}"
      )


def _known(name, values, count):
  """f64[Q * G]: the numbers, NaN for reasons; these are counted into a line of the log."""
  if len(values) != count:
    raise ValueError(f"reward {name!r} gave {len(values)} values for {count} completions")
  reasons = collections.Counter(value for value in values if isinstance(value, str))
  if reasons:
    logging.warning(
      "reward %r: none for %d of %d samples: %s",
      name,
      reasons.total(),
      count,
      "; ".join(f"{reason} ({times})" for reason, times in reasons.most_common()),
    )
  return np.array([math.nan if isinstance(value, str) else value for value in values], np.float64)


def _missing(values):
  return np.isnan(values).sum()


def _mean(values):
  known = values[~np.isnan(values)]
  return float(known.mean()) if known.size else math.nan
