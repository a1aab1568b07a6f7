"""95 % intervals of shares whose answers are correlated within clusters."""

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

Z = 1.959964  # the normal distribution holds 95 % between -Z and Z


def share(
  values: Sequence[float] | np.ndarray, clusters: Iterable[Hashable] | np.ndarray
) -> list[float]:
  """[low, high], the 95 % interval of a mean.

  Wilson's score interval (1927) with an effective number of answers, as Korn and Graubard (1998)
  take it for shares of clustered samples. Both orders of a pair are answered by one model on one
  question, and are not independent; so the variance of the mean p is that over clusters,
  V = sum over clusters of (sum of x - p)^2 / N^2, and the effective number is p (1 - p) / V: N
  independent answers count as N, two orders that always agree count as one answer. It is never more
  than N; if all values are 0, or all are 1, it is the number of clusters.

  Args:
    values: N numbers from 0 to 1, one per answer.
    clusters: N labels; answers of one label are correlated.

  Raises:
    ValueError: there are no values.
  """
  values = np.asarray(values, np.float64)
  if not len(values):
    raise ValueError("there are no values to compute an interval of")
  _, cluster = np.unique(np.asarray([*clusters]), return_inverse=True)
  p, count = float(values.mean()), len(values)
  off = np.bincount(cluster, values - p)
  variance = float(np.sum(off**2)) / count**2
  if p in (0.0, 1.0):
    number = cluster.max() + 1
  else:
    number = min(count, p * (1 - p) / variance) if variance else count
  centre = (p + Z**2 / (2 * number)) / (1 + Z**2 / number)
  spread = p * (1 - p) / number + Z**2 / (4 * number**2)
  half = Z * math.sqrt(max(spread, 0.0)) / (1 + Z**2 / number)
  return [round(float(x), 6) for x in (max(centre - half, 0.0), min(centre + half, 1.0))]
