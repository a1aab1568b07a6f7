"""The paired bootstrap: the 95 % interval of the difference of two models on the same items."""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cot_rm.benchmarks import intervals

RESAMPLES = 10_000
_CELLS = 2**20  # numbers of a chunk of resamples that are in memory at a time


class Difference(NamedTuple):
  """The mean of `first - second` with its 95 % interval."""

  value: float
  low: float
  high: float


def difference(
  first: Sequence[float] | np.ndarray,
  second: Sequence[float] | np.ndarray,
  clusters: Iterable[Hashable] | np.ndarray,
  *,
  seed: int = 0,
  resamples: int = RESAMPLES,
) -> Difference:
  """The mean of `first - second`, with the percentile interval of a bootstrap over clusters.

  Each resample draws as many clusters as there are, with replacement, and both models' values of
  all items of a drawn cluster: what makes an item hard is hard for both models, and cancels.

  Where all resamples are alike (two models that are right about all of a few items), the bootstrap
  says nothing, and the interval is that of `intervals.difference`.

  Clusters of the same sum and the same size are exchangeable. So a resample is drawn as the number
  of clusters of each such kind (a multinomial): the distribution is the same, and the cost does not
  grow with the number of items.

  Args:
    first, second: N numbers, a value of each model for each item; NaN is not allowed.
    clusters: N labels; items of one label are correlated.
    seed: of the draws.
    resamples: number of resamples.

  Raises:
    ValueError: no items, not equally many values, a value that is not finite, or no resamples.
  """
  differences, cluster = intervals.paired(first, second, clusters)
  if not np.isfinite(differences).all():
    item = int(np.argmin(np.isfinite(differences)))
    raise ValueError(f"the values of item {item} (from 0) are not finite: leave it out")
  if resamples < 1:
    raise ValueError(f"resamples is {resamples}; it must be 1 or more")
  of_cluster = np.stack([np.bincount(cluster, differences), np.bincount(cluster)], axis=1)
  kinds_K2, counts_K = np.unique(of_cluster, axis=0, return_counts=True)
  drawn = counts_K.sum()
  rng, means = np.random.default_rng(seed), []
  step = max(_CELLS // len(kinds_K2), 1)
  for start in range(0, resamples, step):
    number = min(step, resamples - start)
    sums_R2 = rng.multinomial(drawn, counts_K / drawn, size=number) @ kinds_K2
    means.append(sums_R2[:, 0] / sums_R2[:, 1])
  every = np.concatenate(means)
  low, high = np.quantile(every, [0.025, 0.975])
  if np.ptp(every) < 1e-12:
    low, high = intervals.difference(first, second, cluster)
  value, low, high = (round(float(x), 6) for x in (differences.mean(), low, high))
  return Difference(value, low, high)
