"""Published values of Wilson's interval, and what hangs together counts once."""

import numpy as np
import pytest

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


def test_a_judge_that_always_takes_the_first_counts_no_more_than_its_answers():
  found = intervals.share([1, 0] * 50, np.repeat(range(50), 2))
  assert found == intervals.share([1, 0] * 50, range(100))  # its variance over pairs is nothing


@pytest.mark.parametrize(
  "share, number, half", [(137, 170, 0.059), (25, 46, 0.14), (899, 1250, 0.025)]
)
def test_the_resolution_of_the_public_benchmarks(share, number, half):
  low, high = intervals.share([1] * share + [0] * (number - share), range(number))
  assert (high - low) / 2 == pytest.approx(half, abs=0.002)


def test_no_values_have_no_interval():
  with pytest.raises(ValueError, match="no values"):
    intervals.share([], [])
