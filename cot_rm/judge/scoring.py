"""Scores of a pair by the votes about it, and what they say about two candidates of a ranking."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cot_rm import voting
from cot_rm.ranking import Comparison
from cot_rm.schema import Verdict

CLIP = 10.0  # of log-odds: a probability of 0.99995


class DimensionScore(NamedTuple):
  """The scores that the reasonings give both candidates in one dimension."""

  name: str  # as the reasonings write it
  first: float  # of candidate 1, the mean over `n` votes, on the grammar's scale (1 to 10)
  second: float  # of candidate 2
  n: int  # readable votes that score this dimension


@dataclasses.dataclass(frozen=True)
class PairScore:
  """How much better candidate 1 of a pair is than candidate 2, as one number.

  Exchanged candidates have the negative of the score, where both orders were asked: a judge that
  always prefers the first place gives 0.
  """

  # log P(1 is better) - log P(2 is better), in nats, each vote clipped to -clip ... clip, the mean
  # over the votes of an order and then over the orders. Above 0: candidate 1. None, never 0 or NaN:
  # no vote was readable.
  log_odds: float | None
  readable: int  # votes with a verdict
  asked: int  # votes of all orders
  # By dimension, those with the most votes first; empty where the grammar writes no scores.
  dimensions: tuple[DimensionScore, ...] = ()
  error: str | None = None  # why log_odds is None

  @property
  def probability(self) -> float | None:
    """P(candidate 1 is better) that belongs to `log_odds`; None where that is None."""
    if self.log_odds is None:
      return None
    return math.exp(min(self.log_odds, 0.0)) / (1 + math.exp(-abs(self.log_odds)))


def score(
  verdicts: Sequence[Verdict], swapped: Sequence[Verdict] | None = None, *, clip: float = CLIP
) -> PairScore:
  """The score of a pair.

  Both orders weigh alike, whatever the number of their readable votes; an order without one is left
  out, and then the score carries the judge's liking for one place.

  Args:
    verdicts: the votes about the pair as given.
    swapped: the votes about the pair with exchanged candidates; None: that order was not asked.
    clip: the largest log-odds of a vote, above 0: certainty is no infinite number.
  """
  check_clip(clip)
  orders = _by_order(verdicts, swapped)
  means = [float(np.mean([_log_odds(p, clip) for p in order])) for order in orders if order]
  every = [*verdicts, *(swapped or ())]
  return PairScore(
    log_odds=float(np.mean(means)) if means else None,
    readable=sum(map(len, orders)),
    asked=len(every),
    dimensions=_dimensions(verdicts, swapped or ()),
    error=None if means else next((v.error for v in every), "no vote was asked"),
  )


def check_clip(clip: float) -> None:
  """Raises ValueError where the largest log-odds of a vote is no number above 0."""
  if not 0 < clip < math.inf:
    raise ValueError(f"clip is {clip}; it must be a number above 0")


def compared(
  first: int, second: int, verdicts: Sequence[Verdict], swapped: Sequence[Verdict] | None = None
) -> Comparison:
  """What the votes say about two candidates, `first` being candidate 1.

  The probability is the mean over the orders of the mean over each one's readable votes.
  """
  orders = _by_order(verdicts, swapped)
  means = [float(np.mean(order)) for order in orders if order]
  return Comparison(first, second, float(np.mean(means)) if means else None, len(means))


def _by_order(verdicts: Sequence[Verdict], swapped: Sequence[Verdict] | None) -> list[list[float]]:
  """P(candidate 1 of the pair as given) by each readable vote, for each order."""
  orders = [voting.first_probabilities(verdicts)]
  return orders + [voting.first_probabilities(swapped or (), swapped=True)]


def _log_odds(p: float, clip: float) -> float:
  if p in (0, 1):
    return clip if p else -clip
  return min(max(math.log(p) - math.log1p(-p), -clip), clip)


def _dimensions(
  verdicts: Sequence[Verdict], swapped: Sequence[Verdict]
) -> tuple[DimensionScore, ...]:
  """The mean scores by dimension, about the pair as given."""
  found: dict[str, list[tuple[float, float]]] = {}
  for verdict in verdicts:
    for name, one, two in verdict.scores:
      found.setdefault(name, []).append((one, two))
  for verdict in swapped:
    for name, one, two in verdict.scores:
      found.setdefault(name, []).append((two, one))
  rows = []
  for name, scores in found.items():
    first, second = np.mean(scores, axis=0).tolist()
    rows.append(DimensionScore(name, first, second, len(scores)))
  return tuple(sorted(rows, key=lambda row: -row.n))
