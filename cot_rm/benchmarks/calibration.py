"""Calibration: of the verdicts with probability p, is a share p right? And can the unsure be told?

A forecast is an answer with P(answer), the probability that it is right. An item without a verdict
has none: it is in no figure of probabilities, and is the least sure one where a judge may abstain.
Right is what the grammar reads, whatever a benchmark's mode does with texts.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, NotRequired, Protocol, TypedDict

import numpy as np

from cot_rm.benchmarks import answers, definitions, intervals, rules
from cot_rm.schema import PairVerdict, Verdict

BINS = 20  # of equal width, from probability 0 to 1; verdicts are mostly in the upper ten
COVERAGES = tuple(round(0.1 * k, 1) for k in range(1, 11))
TEMPERATURES = (0.05, 20.0)  # bounds of the fitted one
_LEAST = 1e-9  # distance of a probability from 0 and 1, where its logarithm is taken


class Combine(Protocol):
  """The verdict about a pair from those of its orders, as voting.combine makes it."""

  def __call__(
    self, verdicts: Sequence[Verdict], swapped: Sequence[Verdict] | None = None, /
  ) -> PairVerdict: ...


class Forecasts(NamedTuple):
  """N answers with their probabilities."""

  probability_N: np.ndarray  # f64, of the answer; NaN: there is no verdict
  right_N: np.ndarray  # bool
  cluster_N: np.ndarray  # i64; answers of one cluster are correlated


class Bin(TypedDict):
  """The forecasts of a bin of probabilities."""

  probability: float  # mean
  accuracy: float
  interval: list[float]  # of the accuracy, 95 %
  n: int


class Errors(TypedDict):
  """How wrong the probabilities are."""

  ece: float
  brier: float
  log_loss: float


class Scaled(TypedDict):
  """A temperature that is fitted on one half of the clusters, and its effect on the other half."""

  temperature: float
  before: Errors
  after: Errors
  n: int  # forecasts of the other half


class Selective(TypedDict):
  """Accuracy of the surest answers."""

  coverage: list[float]  # shares of the items that are answered
  accuracy: list[float]  # at each coverage
  area: float
  n: int  # items, with those without a verdict


class Figures(TypedDict):
  """The figures of calibration, rounded to 6 places; see `score`."""

  ece: float
  brier: float
  log_loss: float
  probability: float
  accuracy: float
  bins: list[Bin]
  scaled: NotRequired[Scaled]
  selective: Selective
  n: int


def of_verdicts(
  given: answers.Judgements, swapped: answers.Judgements, rule: rules.Rule
) -> Forecasts:
  """The first verdict of each answer as a forecast. Arguments as of `answers.tabulate`."""
  asked = rules.flatten(given, swapped)
  labels = rule.clusters(asked.examples)
  verdicts = [j.verdicts[0] for j in asked.judged]
  golds = [j.example.gold for j in asked.judged]
  return _forecasts(verdicts, golds, [labels[row] for row, _ in asked.cells])


def of_pairs(
  given: answers.Judgements, swapped: answers.Judgements, rule: rules.Rule, combine: Combine
) -> Forecasts:
  """The verdict of each pair, from all samples of all orders that were asked, as a forecast."""
  asked = rules.flatten(given, swapped)
  verdicts = []
  for one, two in zip(given, swapped, strict=True):
    if one is not None:
      verdicts.append(combine(one.verdicts, None if two is None else two.verdicts))
    elif two is not None:
      verdicts.append(combine(two.verdicts))
  golds = [example.gold for example in asked.examples]  # as given, or exchanged if only so asked
  return _forecasts(verdicts, golds, rule.clusters(asked.examples))


def _forecasts(
  verdicts: Sequence[Verdict | PairVerdict],
  golds: Sequence[int | None],
  labels: Sequence[Hashable],
) -> Forecasts:
  given = [math.nan if v.probability is None else v.probability for v in verdicts]
  right = [v.answer == gold for v, gold in zip(verdicts, golds, strict=True)]
  cluster_N = np.unique(np.asarray([*map(str, labels)]), return_inverse=True)[1]
  return Forecasts(np.array(given, np.float64), np.array(right, bool), cluster_N)


def score(forecasts: Forecasts, *, seed: int = 0) -> Figures | None:
  """The figures of forecasts; None if none has a probability.

  Args:
    forecasts: of N items.
    seed: of the split into clusters that a temperature is fitted on, and the others.

  Returns:
    ece: expected calibration error, the mean over the forecasts of |accuracy - mean probability| of
      their bin. The bins are BINS of equal width from 0 to 1.
    brier: mean squared difference of the probability and 1 if right, 0 if wrong.
    log_loss: mean negative logarithm of the probability of what is right.
    probability, accuracy: means over the forecasts; the first above the second is overconfidence.
    bins: those that have forecasts, in order.
    scaled: the temperature T that minimizes the log loss of the logits over T on a seeded half of
      the clusters, and the errors on the other half; left out where a half has no forecast.
    selective: accuracy of the surest items at each coverage, and the area under the accuracy over
      all coverages. Items of one probability are taken as one after the other in random order,
      items without a verdict are wrong and the last.
    n: forecasts with a probability.
  """
  known_N = ~np.isnan(forecasts.probability_N)
  if not known_N.any():
    return None
  known = Forecasts(*(field[known_N] for field in forecasts))
  out: Figures = {
    **errors(known),  # type: ignore[typeddict-item]
    "probability": _round(known.probability_N.mean()),
    "accuracy": _round(known.right_N.mean()),
    "bins": reliability(known),
    "selective": selective(forecasts),
    "n": len(known.right_N),
  }
  if scaled := _scaled(known, seed):
    out["scaled"] = scaled
  return out


def figures(
  forecasts: Mapping[str, Forecasts], description: str
) -> tuple[dict[str, Figures], dict[str, definitions.Definition]]:
  """The figures of each set of forecasts that has any, and the definitions of all.

  Args:
    forecasts: {"pairs": ..., "verdicts": ...}.
    description: the orders in words, see rules.Rule.
  """
  found = {name: score(some) for name, some in forecasts.items()}
  out = {name: one for name, one in found.items() if one}
  counts: dict[str, int] = {}
  for name, one in out.items():
    counts |= {f"{key}/{name}": one["n"] for key in ("ece", "brier", "log_loss")}
    counts[f"selective/{name}"] = one["selective"]["n"]
    if "scaled" in one:
      counts[f"temperature/{name}"] = one["scaled"]["n"]
  return out, definitions.describe(counts, description)


def errors(known: Forecasts) -> Errors:
  """The errors of forecasts that all have a probability."""
  probability_N, right_N = known.probability_N, known.right_N
  bin_N = _bins(probability_N)
  gap_K = np.bincount(bin_N, right_N - probability_N, BINS)  # sums over the bins
  of_right_N = np.where(right_N, probability_N, 1 - probability_N)
  return {
    "ece": _round(np.abs(gap_K).sum() / len(right_N)),
    "brier": _round(np.mean((probability_N - right_N) ** 2)),
    "log_loss": _round(-np.log(np.maximum(of_right_N, _LEAST)).mean()),
  }


def reliability(known: Forecasts) -> list[Bin]:
  """The bins that have forecasts."""
  bin_N = _bins(known.probability_N)
  out: list[Bin] = []
  for bin in np.unique(bin_N):
    some_N = bin_N == bin
    right_n = known.right_N[some_N]
    out.append(
      {
        "probability": _round(known.probability_N[some_N].mean()),
        "accuracy": _round(right_n.mean()),
        "interval": intervals.share(right_n, known.cluster_N[some_N]),
        "n": len(right_n),
      }
    )
  return out


def _bins(probability_N: np.ndarray) -> np.ndarray:
  return np.minimum((probability_N * BINS).astype(int), BINS - 1)


def selective(forecasts: Forecasts) -> Selective:
  """Accuracy over coverage; see `score`."""
  sure_N = np.nan_to_num(forecasts.probability_N, nan=-1.0)
  _, kind_N, count_K = np.unique(-sure_N, return_inverse=True, return_counts=True)
  # The expected accuracy of an item that comes at some place within those of its probability.
  mean_K = np.bincount(kind_N, forecasts.right_N) / count_K
  right_N = np.cumsum(np.repeat(mean_K, count_K))
  accuracy_N = right_N / np.arange(1, len(right_N) + 1)
  last = [math.ceil(round(share * len(right_N), 9)) - 1 for share in COVERAGES]
  return {
    "coverage": list(COVERAGES),
    "accuracy": [_round(accuracy_N[i]) for i in last],
    "area": _round(accuracy_N.mean()),
    "n": len(right_N),
  }


def temperature(probability_N: np.ndarray, right_N: np.ndarray) -> float:
  """The temperature, within TEMPERATURES, of the least log loss.

  The loss is convex in 1 / T, so the sign of its derivative tells on which side the minimum is.
  """
  logit_N = _logit(probability_N)
  low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
  for _ in range(60):
    middle = (low + high) / 2
    rises = float(np.sum(logit_N * (right_N - _sigmoid(middle * logit_N)))) < 0
    low, high = (low, middle) if rises else (middle, high)
  return 2 / (low + high)


def scale(probability_N: np.ndarray, temperature: float) -> np.ndarray:
  """The probabilities with their logits divided by a temperature."""
  return _sigmoid(_logit(probability_N) / temperature)


def _scaled(known: Forecasts, seed: int) -> Scaled | None:
  names = np.unique(known.cluster_N)
  fitted = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
  fit_N = np.isin(known.cluster_N, fitted)
  if not fit_N.any() or fit_N.all():
    return None
  found = temperature(known.probability_N[fit_N], known.right_N[fit_N])
  others = Forecasts(*(field[~fit_N] for field in known))
  after = others._replace(probability_N=scale(others.probability_N, found))
  return {
    "temperature": _round(found),
    "before": errors(others),
    "after": errors(after),
    "n": len(others.right_N),
  }


def _logit(probability_N: np.ndarray) -> np.ndarray:
  p = np.clip(probability_N, _LEAST, 1 - _LEAST)
  return np.log(p) - np.log1p(-p)


def _sigmoid(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x))


def _round(value: float | np.floating) -> float:
  return round(float(value), 6)
