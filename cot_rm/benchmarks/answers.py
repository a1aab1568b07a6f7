"""The answers to a benchmark in a table, with their credits: what figures are computed from."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cot_rm.benchmarks import rules
from cot_rm.schema import Choice, Example, Judged

Judgements = Sequence[Judged | None]  # one per pair; None: the pair was not asked in this order


class Answers(NamedTuple):
  """A answers to N pairs: those in the order as given, then those with exchanged candidates."""

  judged: tuple[Judged, ...]
  choices: list[Choice | None]  # by the grammar
  credit_A: np.ndarray  # f64, from 0 to 1; NaN: not counted
  parsed_A: np.ndarray  # bool: the grammar reads a verdict
  first_A: np.ndarray  # bool: the gold answer is candidate 1
  row_A: np.ndarray  # i64: the pair
  order_A: np.ndarray  # i64: 0 as given, 1 with the candidates exchanged
  clusters_A: np.ndarray
  families_A: np.ndarray
  examples: list[Example]  # of the N pairs, in either order
  labels: list[Hashable]  # cluster of each of the N pairs

  @property
  def counted_A(self) -> np.ndarray:
    """bool[A]: whether the answer is in the figures."""
    return ~np.isnan(self.credit_A)

  def mean(self, some_A: np.ndarray) -> float:
    """Mean credit of some answers (bool[A]), of those that are counted; NaN if there are none."""
    values = self.credit_A[some_A & self.counted_A]
    return float(values.mean()) if len(values) else float("nan")

  def joint_accuracy(self, labels: Sequence[Hashable]) -> Mapping[Hashable, float]:
    """{label: probability that all pairs with this label are right}; see rules.joint_accuracy.

    labels: of the N pairs. An answer that is not counted is not right.
    """
    cells = [*zip(self.row_A.tolist(), self.order_A.tolist(), strict=True)]
    return rules.joint_accuracy(np.nan_to_num(self.credit_A), cells, labels)

  def by_family(self) -> dict[str, np.ndarray]:
    """{family: bool[A], whether an answer is in it and counted}, sorted; without empty ones."""
    names = np.unique(self.families_A[self.counted_A])
    return {str(name): (self.families_A == name) & self.counted_A for name in names}


def tabulate(judgements: Judgements, swapped: Judgements, rule: rules.Rule) -> Answers:
  """The answers in a table.

  Args:
    judgements: of N pairs as given; None where that order was not asked.
    swapped: of the same pairs with their candidates exchanged.
    rule: of the benchmark.

  Raises:
    ValueError: no pairs, a pair that was asked in no order, or one without a gold answer.
  """
  asked = rules.flatten(judgements, swapped)
  choices = [j.verdicts[0].answer for j in asked.judged]
  labels = rule.clusters(asked.examples)
  rows, orders = np.array(asked.cells).T
  return Answers(
    judged=asked.judged,
    choices=choices,
    credit_A=_credits(asked, rule),
    parsed_A=np.array([choice is not None for choice in choices]),
    first_A=np.array([j.example.gold == 1 for j in asked.judged]),
    row_A=rows,
    order_A=orders,
    clusters_A=np.array([labels[row] for row in rows]),
    families_A=np.array([rule.family(asked.examples[row]) for row in rows]),
    examples=asked.examples,
    labels=labels,
  )


def _credits(asked: rules.Asked, rule: rules.Rule) -> np.ndarray:
  """f64[A] by the rule's reading, which gets the answers in the order of the pairs."""
  at = sorted(range(len(asked.cells)), key=lambda i: asked.cells[i])
  credit_A = np.full(len(at), np.nan)
  for i, credit in zip(at, rule.reading([asked.judged[i] for i in at]), strict=True):
    credit_A[i] = np.nan if credit is None else credit
  return credit_A
