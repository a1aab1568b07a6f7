"""Voting@k and any@k from K samples of each pair, exact over all subsets of k samples."""

import math
from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from cot_rm.benchmarks import definitions, expected_vote, intervals, rules, vote_costs
from cot_rm.schema import Judged

Counts = tuple[int, int, int]  # right, wrong and unparsable samples


class Figures(TypedDict):
  """The figures of voting; see `score`."""

  at: list[int]
  families: dict[str, dict[str, list[float]]]
  vote: list[float]
  vote_intervals: list[list[float]]
  vote_plus: NotRequired[list[float]]
  any: list[float]
  any_intervals: list[list[float]]
  expected_vote: NotRequired[list[float]]
  expected_vote_intervals: NotRequired[list[list[float]]]
  tokens: list[float]
  tokens_stopped: list[float]
  samples: int
  n: int
  definitions: dict[str, definitions.Definition]


def vote(right: int, wrong: int, unparsable: int, k: int) -> float:
  """The probability that the majority of k samples is right, over all subsets of k.

  Samples outside the grammar abstain. A tie counts half, as a coin would decide it; a subset
  without a parsable sample is wrong. `vote(..., 1)` is the share of right samples.

  Args:
    right, wrong, unparsable: number of samples of each kind; K is their sum.
    k: number of samples that vote, at most K.
  """
  total, found = right + wrong + unparsable, 0.0
  _check(total, k)
  for i in range(min(right, k) + 1):
    for j in range(max(k - i - unparsable, 0), min(wrong, k - i) + 1):
      value = 1.0 if i > j else 0.5 if i == j and i else 0.0
      found += value * math.comb(right, i) * math.comb(wrong, j) * math.comb(unparsable, k - i - j)
  return found / math.comb(total, k)


def hit(right: int, wrong: int, unparsable: int, k: int) -> float:
  """any@k: the probability that at least one of k samples is right, over all subsets of k."""
  total = right + wrong + unparsable
  _check(total, k)
  return 1 - math.comb(total - right, k) / math.comb(total, k)


def score(
  judgements: Sequence[Judged | None],
  swapped: Sequence[Judged | None],
  rule: rules.Rule,
  *,
  at: Sequence[int],
) -> Figures:
  """The figures of voting.

  Args:
    judgements: of N pairs as given, None where that order was not asked; K samples each.
    swapped: of the same pairs with their candidates exchanged.
    rule: the benchmark's orders, families and clusters.
    at: numbers k of votes, each at most K.

  Returns:
    at: the numbers k; the lists below have one entry per k.
    vote, any: voting@k and any@k, means over pairs and orders; vote at k = 1 is the accuracy of a
      single sample.
    vote_intervals, any_intervals: [low, high] of each, 95 %, see `intervals.share`.
    vote_plus: only if the rule has questions: share of questions whose pairs are all voted right
      in one order, averaged over the orders asked; the votes of the pairs are independent.
    expected_vote: the vote by the mean probability of the samples, see `expected_vote.chance`, with
      its intervals; left out if verdicts have no probability.
    tokens, tokens_stopped: mean number of tokens of k samples of a pair in one order, and of those
      that are drawn one after the other until the majority is decided, see `vote_costs.tokens`.
    families: {family: {"vote": [...], "any": [...]}}.
    samples: K.
    n: pairs.
    definitions: see `definitions.describe`.

  Raises:
    ValueError: no pairs, a pair without a gold answer, unequal K, or a k above K.
  """
  cells, judged, examples = rules.flatten(judgements, swapped)
  counts = [_counts(j) for j in judged]
  sizes = sorted({sum(count) for count in counts})
  if len(sizes) > 1:
    raise ValueError(f"votes of {sizes} samples; every pair needs the same number")
  labels = rule.clusters(examples)
  clusters = [labels[row] for row, _ in cells]
  families = np.array([rule.family(examples[row]) for row, _ in cells])
  names = [str(name) for name in np.unique(families)]
  votes = [_each(vote, counts, k) for k in at]
  hits = [_each(hit, counts, k) for k in at]
  items = {"vote": len(examples), "any": len(examples)}
  plus: dict[str, object] = {}
  if rule.question:
    questions = [rule.question(e) for e in examples]
    items["vote_plus"] = len(set(questions))
    joint = [rules.joint_accuracy(values, cells, questions) for values in votes]
    plus["vote_plus"] = [_mean([*shares.values()]) for shares in joint]
  by_probability = [expected_vote.chance(judged, k) for k in at]
  if known := [values for values in by_probability if values is not None]:
    items["expected_vote"] = len(examples)
    plus["expected_vote"] = [_mean(values) for values in known]
    plus["expected_vote_intervals"] = [intervals.share(values, clusters) for values in known]
  items |= {"tokens": len(judged), "tokens_stopped": len(judged)}
  return {
    "at": [int(k) for k in at],
    "families": {
      name: {
        "vote": [_mean(values[families == name]) for values in votes],
        "any": [_mean(values[families == name]) for values in hits],
      }
      for name in names
    },
    "vote": [_mean(values) for values in votes],
    "vote_intervals": [intervals.share(values, clusters) for values in votes],
    **plus,  # type: ignore[typeddict-item]
    "any": [_mean(values) for values in hits],
    "any_intervals": [intervals.share(values, clusters) for values in hits],
    "tokens": [_mean(vote_costs.tokens(judged, k, early_stop=False)) for k in at],
    "tokens_stopped": [_mean(vote_costs.tokens(judged, k, early_stop=True)) for k in at],
    "samples": sizes[0],
    "n": len(examples),
    "definitions": definitions.describe(items, rule.description),
  }


def _each(
  chance: Callable[[int, int, int, int], float], counts: Sequence[Counts], k: int
) -> np.ndarray:
  """f64[len(counts)]: chance(*count, k) of each count; equal counts are computed once."""
  known = {count: chance(*count, k) for count in set(counts)}
  return np.array([known[count] for count in counts])


def _counts(judged: Judged) -> Counts:
  """Numbers of (right, wrong, unparsable) samples of a judgement."""
  answers, gold = [verdict.answer for verdict in judged.verdicts], judged.example.gold
  assert gold is not None  # rules.flatten has checked it
  return answers.count(gold), answers.count(1 if gold == 2 else 2), answers.count(None)


def _check(total: int, k: int) -> None:
  if not 1 <= k <= total:
    raise ValueError(
      f"{k} votes of {total} samples; `at` (config.eval.vote_at) goes from 1 to the number of "
      "samples (config.eval.votes)"
    )


def _mean(values: Sequence[float] | np.ndarray) -> float:
  return round(float(np.mean(values)), 6)
