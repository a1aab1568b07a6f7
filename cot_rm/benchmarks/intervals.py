"""95 % intervals of shares, and of their differences; answers are correlated within clusters."""

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
  independent answers count as N, two orders that always agree count as one answer, two orders of
  which mostly one is right (a judge that names the same position) count as more than two.

  Clusters that are all alike (all right, or one right order in each) have a V of 0, which is no
  evidence that there are no others. So the ratio of the effective number to N is computed with
  z^2 / 2 more clusters that are all right and as many that are all wrong, the observations that
  Agresti and Coull (1998) add to a share. For independent values the ratio stays 1.

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
  p, number = float(values.mean()), len(values) * _efficiency(values, cluster)
  centre = (p + Z**2 / (2 * number)) / (1 + Z**2 / number)
  spread = p * (1 - p) / number + Z**2 / (4 * number**2)
  half = Z * math.sqrt(max(spread, 0.0)) / (1 + Z**2 / number)
  return [round(float(x), 6) for x in (max(centre - half, 0.0), min(centre + half, 1.0))]


def difference(
  first: Sequence[float] | np.ndarray,
  second: Sequence[float] | np.ndarray,
  clusters: Iterable[Hashable] | np.ndarray,
) -> list[float]:
  """[low, high], the 95 % interval of the mean of `first - second`, two values of each item.

  The Wald interval with one more cluster whose items are all 1 - 0 and one whose items are all
  0 - 1, each of the mean size. With one item per cluster and values 0 and 1 this is the interval of
  Bonett and Price (2012) for a difference of paired shares. The added clusters keep it from being
  empty where all items are alike. The variance is that over clusters, as in `share`.

  Args:
    first, second: N numbers from 0 to 1, one of each item.
    clusters: N labels; items of one label are correlated.

  Raises:
    ValueError: there are no items.
  """
  differences, cluster = paired(first, second, clusters)
  sums, sizes = np.bincount(cluster, differences), np.bincount(cluster)
  size = sizes.mean()
  count = len(differences) + 2 * size
  mean = float(differences.sum()) / count
  added = size**2 * ((1 - mean) ** 2 + (1 + mean) ** 2)
  half = Z * math.sqrt(float(np.sum((sums - sizes * mean) ** 2)) + added) / count
  return [round(float(x), 6) for x in (max(mean - half, -1.0), min(mean + half, 1.0))]


def paired(
  first: Sequence[float] | np.ndarray,
  second: Sequence[float] | np.ndarray,
  clusters: Iterable[Hashable] | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """(f64[N], i64[N]): `first - second` of each item, and the number of its cluster.

  Raises:
    ValueError: there are no items, or not equally many values.
  """
  first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
  labels = np.asarray([*clusters])
  if not len(first):
    raise ValueError("there are no items to compute an interval of")
  if not len(first) == len(second) == len(labels):
    raise ValueError(
      f"{len(first)} first values, {len(second)} second values and {len(labels)} clusters; there "
      "must be one of each per item"
    )
  return first - second, np.unique(labels, return_inverse=True)[1]


def _efficiency(values: np.ndarray, cluster: np.ndarray) -> float:
  """Effective number of answers per answer: the variance of independent answers over the actual.

  Args:
    values: f64[N], from 0 to 1.
    cluster: i64[N], number of the cluster of each.
  """
  sums, sizes = np.bincount(cluster, values), np.bincount(cluster)
  size = sizes.mean()  # of each cluster that is added, of weight Z**2 / 2: all right, all wrong
  count = len(values) + Z**2 * size
  p = (float(values.sum()) + Z**2 * size / 2) / count
  added = Z**2 / 2 * size**2 * ((1 - p) ** 2 + p**2)
  return p * (1 - p) * count / (float(np.sum((sums - sizes * p) ** 2)) + added)
