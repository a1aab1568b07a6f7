"""A benchmark's rule: which orders are asked, what is added up together, what hangs together.

N pairs, 2 orders.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from cot_rm import registry


def both(examples):
  """Every example as given (0) and with its candidates exchanged (1)."""
  return [(0, 1)] * len(examples)


def first(examples):
  """Every example as given and in no other order."""
  return [(0,)] * len(examples)


@dataclasses.dataclass(frozen=True)
class Rule:
  """How a benchmark is asked and added up. What it says of an example holds in either order."""

  orders: Callable = both  # examples -> for each one the orders that are asked, of (0, 1)
  family: Callable = lambda example: example.task  # the group that an example counts in
  cluster: Callable | None = None  # a label; examples that share it hang together. None: none do
  whole: Callable | None = None  # a label; examples that share it are right together or not at all
  said: str = "mean of both orders"  # the orders and groups, in the words of a definition

  def clusters(self, examples):
    """A label an example, for `intervals.share`."""
    return [self.cluster(e) if self.cluster else row for row, e in enumerate(examples)]


def get(modes, name):
  """The Rule of this mode. Raises ValueError, with the known names, when there is none."""
  return registry.lookup(modes, name, "mode")


def asked(judgements, swapped):
  """Puts the judgements of both orders in a row.

  Args:
    judgements, swapped: of N pairs in each order, in step; None where it was not asked.

  Returns:
    (places, both, examples): (row, order) of each judgement, the judgements, as given first; and
    one example a pair, in the one order or the other.

  Raises:
    ValueError: no pairs, one that was asked in no order, or one without a gold answer.
  """
  if not judgements:
    raise ValueError("no pairs to score")
  sides = list(enumerate((judgements, swapped)))
  found = [((row, o), j) for o, side in sides for row, j in enumerate(side) if j is not None]
  for _, j in found:
    if j.example.gold not in (1, 2):
      raise ValueError(f"example {j.example.id!r} has no gold answer to score against")
  of_row = {row: j.example for (row, _), j in reversed(found)}
  if missing := [row for row in range(len(judgements)) if row not in of_row]:
    raise ValueError(f"pair {missing[0]} was asked in no order")
  places, both_orders = zip(*found, strict=True)
  return places, both_orders, [of_row[row] for row in range(len(judgements))]


def whole(values, places, labels):
  """How often all pairs of a label are right, one number a label.

  Args:
    values: the chance of each answer to be right, independently of the others.
    places: (row, order) of each answer.
    labels: of N rows.

  Returns:
    {label: mean over the orders asked of the product of its values}, in order of appearance.
  """
  values_N2 = np.full((len(labels), 2), np.nan)
  values_N2[tuple(np.array(places).T)] = values
  rows = {}
  for row, label in enumerate(labels):
    rows.setdefault(label, []).append(row)
  return {
    label: float(np.nanmean(np.prod(values_N2[some], axis=0))) for label, some in rows.items()
  }
