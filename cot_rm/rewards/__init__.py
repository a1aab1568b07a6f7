"""Rewards of judgements, and their weighted sum. To add one: write its module, add it to REWARDS.

A reward gives each sample a value: a number, where 0 says that the sample failed, or, as a string,
the reason why it has no number. A reward of one sample is a function `reward(completion, verdict,
example, grammar)`; one that compares samples or asks a judge model is an each.Reward.

Q examples, G samples of each.
"""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from cot_rm import registry
from cot_rm.prompts import Grammar
from cot_rm.rewards import accuracy, chain, consistency, swap
from cot_rm.rewards import format as form
from cot_rm.rewards.each import Ask, Reward, per_sample
from cot_rm.schema import Judged

REWARDS: dict[str, Reward] = {
  "format": per_sample(form.reward),
  "accuracy": per_sample(accuracy.reward),
  "accuracy_published": per_sample(accuracy.published),
  "chain": per_sample(chain.reward),
  "consistent": consistency.reward,
  "swap": swap.reward,
}
# Of a sample's "accuracy" and "consistent".
PRODUCTS: dict[str, Callable[[float | str, float | str], float | str]] = {
  "consistency": consistency.paper,
  "consistency_released": consistency.released,
}


class Scores(NamedTuple):
  """Rewards of Q groups of G samples."""

  rewards_QG: np.ndarray  # f32[Q, G]: the weighted sums; NaN where a weighted reward has no value
  metrics: dict[str, float]  # "reward/...": means, and how many samples lack a value
  parts: dict[str, np.ndarray]  # {reward: f32[Q, G]}; NaN where a sample has no value


def weighted_names(weights: Mapping[str, float]) -> set[str]:
  """The names with a weight other than 0. Raises ValueError for an unknown name, or no name."""
  if not weights:
    raise ValueError(f"no reward named; known: {', '.join([*REWARDS, *PRODUCTS])}")
  known: dict[str, object] = {**REWARDS, **PRODUCTS}
  for name in weights:
    registry.lookup(known, name, "reward")
  return {name for name, weight in weights.items() if weight}


def asks(weights: Mapping[str, float], grammar: Grammar) -> bool:
  """Whether the rewards need a judge model: consistency has weight, `grammar` has no scores."""
  return (
    not weighted_names(weights).isdisjoint({"consistent", *PRODUCTS}) and not grammar.WRITES_SCORES
  )


def needs_gold(weights: Mapping[str, float]) -> bool:
  """Whether a reward with weight compares the verdict with the gold answer."""
  return not weighted_names(weights).isdisjoint({"accuracy", "accuracy_published", *PRODUCTS})


def score(
  judged: Sequence[Judged],
  grammar: Grammar,
  weights: Mapping[str, float],
  ask: Ask | None = None,
) -> Scores:
  """The weighted sum of rewards.

  R1-Reward's Result x (1 + 0.5 x Consistency) + 0.5 x Format (arXiv:2505.02835) is
  {"accuracy": 1, "consistency": 0.5, "format": 0.5}; "consistency_released" for its released code.

  Args:
    judged: Q examples with G completions and their verdicts each.
    grammar: the grammar of the completions.
    weights: {name in REWARDS or PRODUCTS: weight}. A reward with weight 0 is logged and left out of
      the sum.
    ask: asks the judge model about "consistent", see each.Ask. None: samples whose own scores do
      not decide it have no value.

  Returns:
    Scores. Metrics are "reward/<name>", the mean over samples with a value, and
    "reward/failed/<name>", the number of samples without one, for each name in `parts`; further
    "reward/total" and "reward/failed" of the sum. Parts are the named rewards and the factors of
    named products.

  Raises:
    ValueError: unknown names, ragged groups, and any error that a reward raises on every sample.
  """
  _check(judged, weights)
  completions = [completion for one in judged for completion in one.completions]
  verdicts = [verdict for one in judged for verdict in one.verdicts]
  examples = [one.example for one in judged for _ in one.completions]
  named = [name for name in weights if name not in PRODUCTS]
  if len(named) < len(weights):
    named += [name for name in ("accuracy", "consistent") if name not in named]
  values = {name: REWARDS[name](completions, verdicts, examples, grammar, ask) for name in named}
  for name in weights:
    if name in PRODUCTS:
      values[name] = [*map(PRODUCTS[name], values["accuracy"], values["consistent"])]
  known = {name: _known(name, some, len(completions)) for name, some in values.items()}
  total = np.zeros(len(completions))
  for name, weight in weights.items():
    if weight:
      total += weight * known[name]
  metrics = {f"reward/{name}": _mean(part) for name, part in known.items()}
  metrics |= {f"reward/failed/{name}": float(_missing(part)) for name, part in known.items()}
  metrics |= {"reward/total": _mean(total), "reward/failed": float(_missing(total))}
  grouped = lambda x: x.reshape(len(judged), -1).astype(np.float32)
  return Scores(grouped(total), metrics, {name: grouped(part) for name, part in known.items()})


def _check(judged: Sequence[Judged], weights: Mapping[str, float]) -> None:
  weighted_names(weights)
  for one in judged:
    size, first = len(one.completions), len(judged[0].completions)
    if size != first:
      raise ValueError(
        f"example {one.example.id!r}: {size} completions; the first group has {first}"
      )
    if len(one.verdicts) != size:
      raise ValueError(
        f"example {one.example.id!r}: {len(one.verdicts)} verdicts for {size} completions"
      )


def _known(name: str, values: Sequence[float | str], count: int) -> np.ndarray:
  """A reward's values as f64[Q * G], with NaN for reasons; logs the number of each reason."""
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


def _missing(values: np.ndarray) -> int:
  return int(np.isnan(values).sum())


def _mean(values: np.ndarray) -> float:
  known = values[~np.isnan(values)]
  return float(known.mean()) if known.size else math.nan
