"""Published values of Wilson's interval, and what hangs together counts once."""

import numpy as np
import pytest
import scipy.stats

from cot_rm.benchmarks import intervals


@pytest.mark.parametrize(
  "right, number, low, high",
  [  # Newcombe (1998), table I, method 3
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
  ],
)
def test_answers_of_their_own_have_the_published_interval(right, number, low, high):
  found = intervals.share([1] * right + [0] * (number - right), range(number))
  assert found == pytest.approx([low, high], abs=5e-5)


def test_orders_that_always_agree_count_as_one_answer():
  once = intervals.share([1, 1, 1, 0], range(4))
  twice = intervals.share([1, 1, 1, 0] * 2, [*range(4)] * 2)
  assert twice == pytest.approx(once, abs=1e-6)
  assert intervals.share([1] * 8, [*range(4)] * 2) == intervals.share([1] * 4, range(4))


def test_orders_that_have_nothing_to_do_with_each_other_count_as_two():
  rng = np.random.default_rng(0)
  values = (rng.random(20000) < 0.7).astype(float)
  apart = intervals.share(values, range(20000))
  paired = intervals.share(values, [*range(10000)] * 2)
  assert paired == pytest.approx(apart, abs=2e-4)


def test_a_judge_that_always_takes_the_first_has_a_narrow_interval_but_not_an_empty_one():
  """One order of each of 50 pairs is right: no variance over pairs. z**2 / 2 / (50 + z**2) by hand.

  The same bound as that of the share of pairs in which another number of orders is right.
  """
  low, high = intervals.share([1, 0] * 50, np.repeat(range(50), 2))
  assert (high - low) / 2 == pytest.approx(intervals.Z**2 / 2 / (50 + intervals.Z**2), rel=0.05)
  _, others = intervals.share([0] * 50, range(50))
  assert high - 0.5 == pytest.approx(others / 2, rel=0.05)


@pytest.mark.parametrize(
  "both_wrong, one_right, both_right",
  [(0.16, 0.48, 0.36), (0.05, 0.8, 0.15), (0.1, 0.8, 0.1), (0.3, 0.0, 0.7), (0.2, 0.3, 0.5)],
)
def test_the_interval_holds_the_truth_in_95_of_100_samples(both_wrong, one_right, both_right):
  """200 pairs, drawn 2,000 times: how often the truth is inside, and the width by its variance."""
  rng, truth = np.random.default_rng(1), one_right / 2 + both_right
  inside, widths = 0, []
  for _ in range(2000):
    right = rng.choice(3, 200, p=[both_wrong, one_right, both_right])  # orders of each pair
    values = np.stack([right >= 1, right == 2], axis=1).reshape(-1)
    low, high = intervals.share(values, np.repeat(range(200), 2))
    inside += low <= truth <= high
    widths.append(high - low)
  deviation = np.sqrt((one_right / 4 + both_right - truth**2) / 200)
  assert 0.935 <= inside / 2000 <= 0.98
  assert np.mean(widths) == pytest.approx(2 * intervals.Z * deviation, rel=0.12)


def test_the_interval_is_that_of_a_bootstrap_over_clusters():
  rng = np.random.default_rng(2)
  right = rng.choice(3, 1000, p=[0.1, 0.7, 0.2])
  values = np.stack([right >= 1, right == 2], axis=1).reshape(-1)
  found = intervals.share(values, np.repeat(range(1000), 2))
  theirs = scipy.stats.bootstrap((right / 2,), np.mean, rng=rng, method="percentile")
  assert found == pytest.approx(list(theirs.confidence_interval), abs=2e-3)


def test_independent_answers_have_scipy_s_interval_of_wilson():
  for right, number in ((0, 9), (1, 9), (7, 9), (313, 640), (640, 640)):
    theirs = scipy.stats.binomtest(right, number).proportion_ci(method="wilson")
    found = intervals.share([1] * right + [0] * (number - right), range(number))
    assert found == pytest.approx(list(theirs), abs=2e-6)


@pytest.mark.parametrize(
  "share, number, half", [(137, 170, 0.059), (25, 46, 0.14), (899, 1250, 0.025)]
)
def test_the_resolution_of_the_public_benchmarks(share, number, half):
  low, high = intervals.share([1] * share + [0] * (number - share), range(number))
  assert (high - low) / 2 == pytest.approx(half, abs=0.002)


def test_no_values_have_no_interval():
  with pytest.raises(ValueError, match="no values"):
    intervals.share([], [])


def test_a_difference_of_paired_shares_has_the_published_interval():
  """Approval of the same 1,600 people twice: 944 and 880 (Agresti 2002, section 10.1.1)."""
  first = [1] * 794 + [1] * 150 + [0] * 86 + [0] * 570
  second = [1] * 794 + [0] * 150 + [1] * 86 + [0] * 570
  found = intervals.difference(first, second, range(1600))
  assert found == pytest.approx([0.04 - 1.96 * 0.0095, 0.04 + 1.96 * 0.0095], abs=5e-4)


def test_a_difference_of_paired_shares_is_that_of_bonett_and_price_by_hand():
  first, second = [1] * 7 + [0] * 2 + [1] * 11, [0] * 7 + [1] * 2 + [1] * 11
  p12, p21 = 8 / 22, 3 / 22
  half = intervals.Z * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 22)
  found = intervals.difference(first, second, range(20))
  assert found == pytest.approx([p12 - p21 - half, p12 - p21 + half], abs=1e-6)


def test_items_that_always_agree_count_as_one_in_a_difference():
  first, second = np.array([1, 1, 1, 0, 1] * 8), np.array([0, 1, 0, 1, 1] * 8)
  once = intervals.difference(first, second, range(40))
  twice = intervals.difference(np.tile(first, 2), np.tile(second, 2), [*range(40)] * 2)
  assert twice == pytest.approx(once, abs=1e-6)


def test_the_interval_of_a_difference_holds_the_truth_in_95_of_100_samples():
  rng, inside = np.random.default_rng(3), 0
  for _ in range(2000):
    kind = rng.choice(3, 100, p=[0.7, 0.25, 0.05])  # equal, the first right, the second right
    low, high = intervals.difference(kind == 1, kind == 2, range(100))
    inside += low <= 0.2 <= high
  assert 0.935 <= inside / 2000 <= 0.97


def test_a_difference_of_items_that_are_all_alike_is_not_certain():
  low, high = intervals.difference([1] * 30, [0] * 30, range(30))
  assert low < 0.95 and high == 1
