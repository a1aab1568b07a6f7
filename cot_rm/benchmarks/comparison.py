"""Two models on the same pairs: the difference of their accuracies, and where they differ."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from cot_rm.benchmarks import answers, bootstrap, pairs, rules


class Share(TypedDict):
  """Two accuracies over the same pairs, and their difference, second minus first."""

  first: float
  second: float
  difference: float
  interval: list[float]  # [low, high] of the difference, 95 %, by the paired bootstrap
  n: int  # pairs


class Compared(TypedDict):
  """The figures of a comparison."""

  overall: Share
  families: dict[str, Share]
  both: int  # pairs of full credit by both models
  first_alone: int  # pairs with more credit by the first model
  second_alone: int
  neither: int  # all others: of equal credit, less than full


class Comparison(NamedTuple):
  """A comparison: its figures, and the pairs."""

  figures: Compared
  rows: list[int]  # of the pairs that both models answered, among those given
  gains: list[float]  # of these: credit of the second model minus that of the first, -1 to 1


Sides = tuple[answers.Judgements, answers.Judgements]  # as given, and with exchanged candidates


def compare(first: Sides, second: Sides, rule: rules.Rule) -> Comparison:
  """Compares two models on the pairs that both answered in all orders that the rule asks.

  Pairs that people call equal are left out. A pair's credit is the mean of its answers' credits.
  Answers that the rule's reading leaves out take their pair out.

  Args:
    first, second: the judgements of each model, one per pair; None where there is no answer.
    rule: of the benchmark.

  Raises:
    ValueError: no pair has an answer of both.
  """
  asked = [[one is not None for one in side] for sides in (first, second) for side in sides]
  answered = [(a, b) == (c, d) != (0, 0) for a, b, c, d in zip(*asked, strict=True)]
  common = [i for i in pairs.decided(*first) if answered[i]]
  tables = [
    answers.tabulate([given[i] for i in common], [swapped[i] for i in common], rule)
    for given, swapped in (first, second)
    if common
  ]
  if not tables:
    raise ValueError("no pair has an answer of both models: are they answers to the same pairs?")
  credits_2N = np.stack([_of_pairs(table, len(common)) for table in tables])
  kept_N = np.isfinite(credits_2N).all(axis=0)
  if not kept_N.any():
    raise ValueError("no pair has an answer of both models that counts")
  table = tables[0]
  families = np.array([rule.family(example) for example in table.examples])
  labels = np.array(_numbers(table.labels))
  first_N, second_N = credits_2N

  def share(some_N: np.ndarray) -> Share:
    found = bootstrap.difference(second_N[some_N], first_N[some_N], labels[some_N])
    return {
      "first": round(float(first_N[some_N].mean()), 6),
      "second": round(float(second_N[some_N].mean()), 6),
      "difference": found.value,
      "interval": [found.low, found.high],
      "n": int(some_N.sum()),
    }

  gains = (second_N - first_N)[kept_N]
  full = (credits_2N[:, kept_N] == 1).all(axis=0)
  counts = {"first_alone": int((gains < 0).sum()), "second_alone": int((gains > 0).sum())}
  figures: Compared = {
    "overall": share(kept_N),
    "families": {
      str(name): share(some)
      for name in np.unique(families[kept_N])
      if (some := kept_N & (families == name)).any()
    },
    "both": int(full.sum()),
    **counts,  # type: ignore[typeddict-item]
    "neither": int(((gains == 0) & ~full).sum()),
  }
  rows = [row for row, kept in zip(common, kept_N, strict=True) if kept]
  return Comparison(figures, rows, gains.tolist())


def _of_pairs(table: answers.Answers, count: int) -> np.ndarray:
  """f64[N]: mean credit of each pair's answers; NaN where one of them is not counted."""
  return np.bincount(table.row_A, table.credit_A, count) / np.bincount(table.row_A, minlength=count)


def _numbers(labels: Sequence) -> list[int]:
  """The labels as numbers, in the order in which they appear."""
  numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
  return [numbers[label] for label in labels]
