"""How a benchmark is asked and scored: orders, readings, families, clusters, and questions.

The pairs of a question count jointly: the question is right if all of them are.

N pairs, 2 orders: 0 as given, 1 with the candidates exchanged.
"""

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from cot_rm.benchmarks import readings
from cot_rm.schema import Example, Judged

Cell = tuple[int, int]  # (row of the pair, order)
_NUMBER = re.compile(r"#\d+$")


def both(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """Both orders of every example."""
  return [(0, 1)] * len(examples)


def first(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """Every example in the given order only."""
  return [(0,)] * len(examples)


def better_first(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """One order of every example: the one in which the better candidate is the first."""
  return [(0,) if example.gold == 1 else (1,) for example in examples]


def task_of(example: Example) -> str:
  """The task, the usual family of an example."""
  return example.task


@dataclasses.dataclass(frozen=True)
class Rule:
  """How a benchmark is asked and scored. Its labels do not depend on the order of an example."""

  orders: Callable[[Sequence[Example]], list[tuple[int, ...]]] = both  # of each example, of (0, 1)
  reading: readings.Reading = readings.grammar  # the credit of each answer
  family: Callable[[Example], str] = task_of  # the group whose accuracy an example counts in
  # Label of an example; answers to examples of one label are correlated. None: one label per pair,
  # and one for pairs of the same id, see `by_id`.
  cluster: Callable[[Example], Hashable] | None = None
  # Label of an example; a label counts as right only if all its pairs are. None: no such sets.
  question: Callable[[Example], Hashable] | None = None
  # How pairs are credited of which people may call the candidates equal (`ties.credits`): "agreed",
  # by what all orders that are asked name; "each", the mean of the answers' credits by the reading.
  # None: pairs that people call equal are not asked.
  tau: Literal["agreed", "each"] | None = None
  description: str = "mean of both orders"  # orders, reading and groups, for the definitions

  def asked(self, examples: Sequence[Example]) -> list[tuple[int, ...]]:
    """The orders in which each example is asked; () where the rule has no credit for a tie."""
    orders = self.orders(examples)
    if self.tau:
      return orders
    return [() if e.gold is None else of for e, of in zip(examples, orders, strict=True)]

  def clusters(self, examples: Sequence[Example]) -> list[Hashable]:
    """The cluster label of each example, for `intervals.share`."""
    return [*map(self.cluster, examples)] if self.cluster else by_id(examples)


def by_id(examples: Sequence[Example]) -> list[Hashable]:
  """A label per pair: its row, and of pairs whose records had one id, the row of the first.

  Where an id comes again, the pairs are called id#2, id#3, ... when they are read. Ids of the data
  may have such numbers of their own: they are repetitions only if the id without it is there.
  """
  ids = {example.id for example in examples}
  plain = [_NUMBER.sub("", example.id) for example in examples]
  names = [
    name if name in ids else example.id for name, example in zip(plain, examples, strict=True)
  ]
  again = {name for name, example in zip(names, examples, strict=True) if name != example.id}
  first: dict[str, int] = {}
  return [first.setdefault(n, row) if n in again else row for row, n in enumerate(names)]


class Asked(NamedTuple):
  """The judgements of both orders in one sequence, those of the given order first."""

  cells: tuple[Cell, ...]  # of each judgement
  judged: tuple[Judged, ...]
  examples: list[Example]  # one per pair, in either order


def flatten(judgements: Sequence[Judged | None], swapped: Sequence[Judged | None]) -> Asked:
  """Concatenates the judgements of both orders, without those that were not asked.

  Args:
    judgements: of N pairs as given; None where that order was not asked.
    swapped: of the same pairs with their candidates exchanged.

  Raises:
    ValueError: no pairs, a pair that was asked in no order, or one without a gold answer.
  """
  if not judgements:
    raise ValueError("no pairs to score: the list of judgements is empty")
  found = [
    ((row, order), judged)
    for order, side in enumerate((judgements, swapped))
    for row, judged in enumerate(side)
    if judged is not None
  ]
  for _, judged in found:
    if judged.example.gold not in (1, 2):
      raise ValueError(f"example {judged.example.id!r} has no gold answer to score against")
  of_row = {row: judged.example for (row, _), judged in reversed(found)}
  if missing := [row for row in range(len(judgements)) if row not in of_row]:
    raise ValueError(f"pair {missing[0]} (from 0) has a judgement in neither order")
  cells, in_a_row = zip(*found, strict=True)
  return Asked(cells, in_a_row, [of_row[row] for row in range(len(judgements))])


def joint_accuracy(
  values: Sequence[float] | np.ndarray, cells: Sequence[Cell], labels: Sequence[Hashable]
) -> Mapping[Hashable, float]:
  """The probability, for each label, that all pairs with this label are right.

  Args:
    values: the probability that each answer is right, independently of the others.
    cells: (row of the pair, order) of each answer.
    labels: labels of the N pairs.

  Returns:
    {label: product of the values of its pairs in one order, averaged over the orders asked}, in
    order of appearance.
  """
  values_N2 = np.full((len(labels), 2), np.nan)
  values_N2[tuple(np.array(cells).T)] = values
  rows: dict[Hashable, list[int]] = {}
  for row, label in enumerate(labels):
    rows.setdefault(label, []).append(row)
  return {
    label: float(np.nanmean(np.prod(values_N2[some], axis=0))) for label, some in rows.items()
  }
