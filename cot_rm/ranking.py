"""Ranks candidates by few comparisons: Bradley-Terry strengths, and which pairs to ask next.

In numpy, and without a judge: a tournament says which pairs it wants compared, and is told the
results. N candidates, each known by its index.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from cot_rm import registry

Method = Literal["adaptive", "round_robin", "knockout"]
METHODS: tuple[Method, ...] = get_args(Method)
Goal = Literal["best", "order"]
GOALS: tuple[Goal, ...] = get_args(Goal)
Pair = tuple[int, int]

# Standard deviation of the prior of a strength, in log-odds. It is weak: candidates of one standard
# deviation to either side of the mean beat each other with odds of 400 to 1. It keeps the strength
# of a candidate finite that has won or lost every comparison.
PRIOR_SD = 3.0
ORDERS = 2  # of a pair, in which it is asked: (i, j) and (j, i)
_DRAWS = 512  # from the posterior, for the probability that a candidate is the best
_UNLIKELY = 0.003  # added to the product of two such probabilities: no pair is ruled out


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What the judge said about one pair of candidates.

  Raises ValueError for a candidate against itself, or a probability that does not fit `orders`.
  """

  first: int  # index of a candidate
  second: int  # index of the other one
  # P(first is better), the mean over the orders; None: no order had a readable verdict.
  probability: float | None
  orders: int = ORDERS  # orders with a readable verdict: 0, 1 or 2; the weight of the comparison

  def __post_init__(self) -> None:
    name = f"comparison of candidates {self.first} and {self.second}"
    if self.first == self.second or min(self.first, self.second) < 0:
      raise ValueError(f"{name}: they must be two indices, 0 or more")
    if (self.probability is None) != (self.orders == 0) or not 0 <= self.orders <= ORDERS:
      raise ValueError(f"{name}: probability {self.probability} of {self.orders} readable orders")
    if self.probability is not None and not 0 <= self.probability <= 1:
      raise ValueError(f"{name}: probability {self.probability}; it must be from 0 to 1")

  @property
  def pair(self) -> Pair:
    """The candidates, the lower index first."""
    return min(self.first, self.second), max(self.first, self.second)

  @property
  def winner(self) -> int:
    """The likelier candidate; at a half, and without a readable verdict, the lower index."""
    if self.probability is None or self.probability == 0.5:
      return min(self.first, self.second)
    return self.first if self.probability > 0.5 else self.second


@dataclasses.dataclass(frozen=True)
class Ranking:
  """Several candidates in the order of a judge's preference."""

  # f[N] in log-odds, with mean 0: candidate i beats candidate j with probability
  # 1 / (1 + exp(strengths[j] - strengths[i])) by the Bradley-Terry model.
  strengths: tuple[float, ...]
  standard_errors: tuple[float, ...]  # f[N], of the strengths
  order: tuple[int, ...]  # indices of the candidates, the best first; equals by their index
  comparisons: int  # judgements asked: one for each order of a pair, whatever the votes
  pairs: tuple[Comparison, ...]  # the pairs asked, in their order, with what the judge said
  unreadable: int  # of `comparisons`, those without a readable verdict

  @property
  def best(self) -> int:
    """Index of the best candidate."""
    return self.order[0]


class Fit(NamedTuple):
  """Bradley-Terry strengths by comparisons."""

  strengths_N: np.ndarray  # f64, with mean 0
  covariance_NN: np.ndarray  # f64, of the strengths, as deviations from their mean


class Tournament:
  """Asks for pairs in batches, and ranks the candidates by what the judge said.

      tournament = Tournament(8)
      while pairs := tournament.next_pairs():
        tournament.tell([compare(i, j) for i, j in pairs])
      tournament.ranking()

  Each pair is asked once. "adaptive" opens with a random half of the candidates against the other
  half, so that each has met one other; each later batch is of the pairs that teach most, with the
  strengths as they are known by then. "knockout" lets the winner of each pair go on, at a tie the
  one with the lower index. "round_robin" asks for all pairs at once.

  Attributes:
    max_pairs: the most pairs that it will ask for.
  """

  def __init__(
    self,
    count: int,
    *,
    method: Method = "adaptive",
    goal: Goal = "best",
    limit: int | None = None,
    seed: int = 0,
  ) -> None:
    """
    Args:
      count: N, the number of candidates, 2 or more.
      method: which pairs are asked, see `max_pairs`.
      goal: what "adaptive" asks for: the pairs that tell which candidate is the "best", or those
        that tell the "order" of all of them.
      limit: of comparisons, for "adaptive", see `max_pairs`.
      seed: of the draw of the first pairs.

    Raises:
      ValueError: see `max_pairs`; or an unknown goal.
    """
    registry.lookup(dict.fromkeys(GOALS), goal, "goal")
    self.count, self.method, self.goal = count, method, goal
    self.max_pairs = max_pairs(count, method, limit)
    self._random = np.random.default_rng(seed)
    self._asked: list[Comparison] = []
    self._open: list[Pair] = []  # handed out, and not yet told
    self._drawn = [int(i) for i in self._random.permutation(count)]
    self._alive = self._drawn  # knockout: the candidates that have not lost
    self._lost_in = [0] * count  # knockout: the round in which a candidate lost
    self._rounds = 0

  def next_pairs(self) -> list[Pair]:
    """The next pairs to compare, each in both orders; none: the ranking is complete.

    Raises:
      RuntimeError: the pairs before have not been told.
    """
    if self._open:
      raise RuntimeError(f"{len(self._open)} pairs wait for their results; call `tell` first")
    self._open = self._choose()
    return list(self._open)

  def tell(self, comparisons: Sequence[Comparison]) -> None:
    """Takes the results of the pairs of `next_pairs`, in any order.

    Raises:
      ValueError: they are not about these pairs.
    """
    asked = sorted((min(pair), max(pair)) for pair in self._open)
    if sorted(c.pair for c in comparisons) != asked:
      raise ValueError(f"results of {[c.pair for c in comparisons]}; asked were {asked}")
    self._asked += comparisons
    self._open = []
    self._rounds += 1
    if self.method == "knockout":
      for c in comparisons:
        self._lost_in[c.first + c.second - c.winner] = self._rounds
      lost = {c.first + c.second - c.winner for c in comparisons}
      self._alive = [i for i in self._alive if i not in lost]

  def ranking(self) -> Ranking:
    """The ranking by what was told so far."""
    strengths, covariance = fit(self.count, self._asked)
    order = sorted(range(self.count), key=lambda i: -strengths[i])
    if self.method == "knockout":  # who lost later is better; of one round, the stronger
      order.sort(key=lambda i: -(self._lost_in[i] or math.inf))
    return Ranking(
      strengths=tuple(strengths.tolist()),
      standard_errors=tuple(np.sqrt(np.diag(covariance).clip(0)).tolist()),
      order=tuple(order),
      comparisons=ORDERS * len(self._asked),
      pairs=tuple(self._asked),
      unreadable=sum(ORDERS - c.orders for c in self._asked),
    )

  def _choose(self) -> list[Pair]:
    left = self.max_pairs - len(self._asked)
    if self.method == "round_robin":
      every = [(i, j) for i in range(self.count) for j in range(i + 1, self.count)]
      return every if not self._asked else []
    meetings = [*zip(self._alive[::2], self._alive[1::2], strict=False)]
    if self.method == "knockout":
      return meetings
    if not self._asked:
      left_over = [(self._alive[-1], self._alive[0])] if self.count % 2 else []
      return meetings + left_over
    return self._informative(min(left, max(self.count // 4, 1)))

  def _informative(self, most: int) -> list[Pair]:
    """The unasked pairs, `most` at most, that teach most about the goal.

    A pair teaches the information that its answer carries about the strengths, log(1 + w p (1 - p)
    Var(lead)); for the goal "best", times the probability that one or the other is the best of all.
    After each pair the covariance is what it will be once the pair is answered, so that a batch
    does not ask the same thing twice.
    """
    strengths, covariance = fit(self.count, self._asked)
    first, second = np.triu_indices(self.count, 1)
    asked = {c.pair for c in self._asked}
    is_open = np.array([pair not in asked for pair in zip(first, second, strict=True)])
    p = _sigmoid(strengths[first] - strengths[second])
    bits = ORDERS * p * (1 - p)
    wanted = np.ones(len(first))
    if self.goal == "best":
      draws = self._random.multivariate_normal(
        strengths, covariance, size=_DRAWS, method="eigh", check_valid="ignore"
      )
      best = np.bincount(draws.argmax(1), minlength=self.count) / _DRAWS
      wanted = best[first] * best[second] + _UNLIKELY
    out: list[Pair] = []
    while len(out) < most and is_open.any():
      lead = np.diag(covariance)[first] + np.diag(covariance)[second]
      lead -= 2 * covariance[first, second]
      at = int(np.where(is_open, np.log1p(bits * lead) * wanted, -1).argmax())
      i, j = int(first[at]), int(second[at])
      out.append((i, j))
      is_open[at] = False
      change = covariance[:, i] - covariance[:, j]
      covariance = covariance - np.outer(change, change) * bits[at] / (1 + bits[at] * lead[at])
    return out


def play(
  tournaments: Sequence[Tournament], compare: Callable[[list[tuple[int, Pair]]], list[Comparison]]
) -> list[Ranking]:
  """Runs tournaments to their ends, side by side: a batch holds the next pairs of all.

  Args:
    tournaments: one for each question.
    compare: `[(index of the tournament, pair)] -> comparisons`, in the same order.
  """
  while asked := [(at, pair) for at, one in enumerate(tournaments) for pair in one.next_pairs()]:
    told: dict[int, list[Comparison]] = {}
    for (at, _), comparison in zip(asked, compare(asked), strict=True):
      told.setdefault(at, []).append(comparison)
    for at, comparisons in told.items():
      tournaments[at].tell(comparisons)
  return [one.ranking() for one in tournaments]


def fit(count: int, comparisons: Sequence[Comparison], *, prior_sd: float = PRIOR_SD) -> Fit:
  """The strengths that maximize the posterior of the Bradley-Terry model.

  log p = sum over comparisons of orders * (s log P + (1 - s) log(1 - P)) - |strengths|^2 /
  (2 prior_sd^2), where s is Comparison.probability and P the model's probability of it. So a judge
  that is unsure, or that contradicts itself in the other order, counts as a tie of that degree. The
  covariance is the inverse of the curvature at the maximum. It takes each order for one independent
  answer: a judge with less noise than that, such as one that answers greedily, has smaller errors.

  Args:
    count: N, the number of candidates.
    comparisons: about these candidates; those without a readable verdict say nothing.
    prior_sd: standard deviation of the prior of a strength, in log-odds.

  Raises:
    ValueError: an index out of range, or a prior that is not above 0.
  """
  if prior_sd <= 0:
    raise ValueError(f"prior_sd is {prior_sd}; it must be above 0")
  readable = [c for c in comparisons if c.probability is not None]
  highest = max((max(c.first, c.second) for c in comparisons), default=-1)
  if highest >= count:
    raise ValueError(f"a comparison names candidate {highest}, and there are {count}")
  pairs = np.array([(c.first, c.second) for c in readable], int).reshape(-1, 2)
  wins, weights = (
    np.array(values, float)
    for values in ([c.probability for c in readable], [c.orders for c in readable])
  )
  design = np.zeros((len(readable), count))  # +1 for the first candidate, -1 for the second
  rows = np.arange(len(readable))
  design[rows, pairs[:, 0]], design[rows, pairs[:, 1]] = 1, -1
  prior = 1 / prior_sd**2

  def loss(strengths: np.ndarray) -> float:
    lead = design @ strengths
    likelihood = weights @ (wins * np.logaddexp(0, -lead) + (1 - wins) * np.logaddexp(0, lead))
    return float(likelihood + 0.5 * prior * strengths @ strengths)

  def curvature(strengths: np.ndarray) -> np.ndarray:
    p = _sigmoid(design @ strengths)
    return design.T @ ((weights * p * (1 - p))[:, None] * design) + prior * np.eye(count)

  strengths = np.zeros(count)
  for _ in range(100):
    gradient = design.T @ (weights * (_sigmoid(design @ strengths) - wins)) + prior * strengths
    step = np.linalg.solve(curvature(strengths), gradient)
    size = 1.0
    while size > 1e-6 and loss(strengths - size * step) > loss(strengths) - 0.1 * size * (
      gradient @ step
    ):
      size /= 2
    strengths = strengths - size * step
    if np.abs(size * step).max(initial=0.0) < 1e-10:
      break
  centred = np.eye(count) - 1 / count
  covariance = centred @ np.linalg.inv(curvature(strengths)) @ centred
  return Fit(centred @ strengths, covariance)


def _sigmoid(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x))


def max_pairs(count: int, method: Method, limit: int | None = None) -> int:
  """The most pairs that a tournament asks for; each is two comparisons, one for each order.

  Args:
    count: N, the number of candidates.
    method: "round_robin": all N (N - 1) / 2 pairs; "knockout": N - 1; "adaptive": `limit`, and at
      least N - 1, so that all candidates are compared.
    limit: comparisons at most, for "adaptive"; None: N log2 N.

  Raises:
    ValueError: an unknown method, fewer than 2 candidates, or a limit that is too low or is given
      for another method than "adaptive".
  """
  registry.lookup(dict.fromkeys(METHODS), method, "method")
  if count < 2:
    raise ValueError(f"a ranking needs 2 or more candidates; got {count}")
  every, least = count * (count - 1) // 2, count - 1
  if method == "adaptive":
    if limit is None:
      return min(every, max(least, math.ceil(count * math.log2(count) / ORDERS)))
    if limit // ORDERS < least:
      raise ValueError(
        f"{limit} comparisons are too few for {count} candidates: at least {ORDERS * least}, one "
        f"pair in both orders for each but the first"
      )
    return min(every, limit // ORDERS)
  if limit is not None:
    raise ValueError(f"a limit of comparisons is for method 'adaptive', not {method!r}")
  return every if method == "round_robin" else least
