"""The paired bootstrap against every resample, a plain loop, scipy, and a published interval."""

import itertools

import numpy as np
import pytest
import scipy.stats

from cot_rm.benchmarks import bootstrap, intervals


@pytest.fixture
def correlated():
  """Two models on 150 clusters of one to four items that are all easy or all hard."""
  rng = np.random.default_rng(0)
  cluster = np.repeat(np.arange(150), rng.integers(1, 5, 150))
  ease = rng.random(150)[cluster]
  first, second = (rng.random((2, len(cluster))) < np.stack([ease, ease**1.5])).astype(float)
  return first, second, cluster


def test_every_resample_of_five_clusters_has_its_probability():
  """All 5^5 of them: the quantiles are values of the exact distribution."""
  first, second = [1, 1, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0, 1]
  sums, sizes = np.array([1, -1, 1, 1, -1]), np.array([2, 1, 1, 2, 1])
  drawn = np.array([*itertools.product(range(5), repeat=5)])
  exact = sums[drawn].sum(1) / sizes[drawn].sum(1)
  found = bootstrap.difference(first, second, [0, 0, 1, 2, 3, 3, 4], resamples=200_000)
  assert found.value == pytest.approx(1 / 7, abs=1e-6)
  bounds = np.quantile(exact, [0.025, 0.975], method="inverted_cdf")
  assert [found.low, found.high] == pytest.approx(bounds, abs=1e-6)


def test_it_is_what_a_plain_loop_over_drawn_clusters_finds(correlated):
  first, second, cluster = correlated
  rng, means = np.random.default_rng(1), []
  items = [np.flatnonzero(cluster == c) for c in range(150)]
  for _ in range(4000):
    some = np.concatenate([items[c] for c in rng.integers(0, 150, 150)])
    means.append(first[some].mean() - second[some].mean())
  found = bootstrap.difference(first, second, cluster)
  assert found.value == pytest.approx(first.mean() - second.mean(), abs=1e-6)
  assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=6e-3)


def test_without_clusters_it_is_scipy_s_paired_bootstrap_and_the_wald_interval():
  rng = np.random.default_rng(2)
  first, second = (rng.random((2, 1500)) < np.array([[0.7], [0.62]])).astype(float)
  found = bootstrap.difference(first, second, range(1500))
  theirs = scipy.stats.bootstrap(
    (first, second),
    lambda a, b, axis: (a - b).mean(axis),
    paired=True,
    method="percentile",
    rng=rng,
  ).confidence_interval
  assert [found.low, found.high] == pytest.approx(list(theirs), abs=3e-3)
  half = 1.96 * (first - second).std(ddof=1) / np.sqrt(1500)
  assert [found.low, found.high] == pytest.approx(
    [found.value - half, found.value + half], abs=2e-3
  )


def test_it_agrees_with_the_interval_in_closed_form_of_clustered_items(correlated):
  found = bootstrap.difference(*correlated)
  assert [found.low, found.high] == pytest.approx(intervals.difference(*correlated), abs=8e-3)


def test_values_of_any_kind_give_what_kinds_of_clusters_cannot_shorten(correlated):
  """Each cluster is of its own kind: all resamples are not in memory at a time."""
  _, _, cluster = correlated
  first, second = np.random.default_rng(3).random((2, len(cluster)))
  found = bootstrap.difference(first, second, cluster)
  assert [found.low, found.high] == pytest.approx(
    intervals.difference(first, second, cluster), abs=8e-3
  )


def test_items_that_are_all_alike_are_no_certainty():
  """Two models that are right about the same 10 pairs, of clusters of unequal sizes."""
  cluster = [0, 1, 1, 2, 3, 4, 4, 5, 6, 7]
  found = bootstrap.difference([1] * 10, [1] * 10, cluster)
  assert found.value == 0 and -0.5 < found.low < -0.1 and found.low == -found.high
  worse = bootstrap.difference([0] * 10, [1] * 10, cluster)
  assert worse.value == -1 == worse.low and worse.high > -0.8


def test_a_seed_gives_the_same_interval_and_another_seed_nearly_the_same(correlated):
  one = bootstrap.difference(*correlated, seed=4)
  assert one == bootstrap.difference(*correlated, seed=4)
  other = bootstrap.difference(*correlated, seed=5)
  assert one != other and one[1:] == pytest.approx(other[1:], abs=4e-3)


def test_faults_name_what_is_wrong():
  with pytest.raises(ValueError, match="no items"):
    bootstrap.difference([], [], [])
  with pytest.raises(ValueError, match="2 first values, 1 second values and 2 clusters"):
    bootstrap.difference([0, 1], [1], [0, 1])
  with pytest.raises(ValueError, match="values of item 1 .* not finite"):
    bootstrap.difference([0, np.nan], [1, 1], [0, 1])
  with pytest.raises(ValueError, match="resamples is 0"):
    bootstrap.difference([0], [1], [0], resamples=0)
