"""Evenly spaced numbers against torch, for videos of up to two hours at 25 frames a second."""

import random

import numpy as np
import pytest
import torch

from cot_rm.media import float_ranges

pytestmark = pytest.mark.skipif(
  torch.backends.cpu.get_cpu_capability() == "DEFAULT",
  reason="torch's kernels without fused multiply-add round otherwise",
)


def lists(seed, most=200_000):
  """(first frame, last frame, number of frames) of random videos."""
  rng = random.Random(seed)
  for _ in range(2000):
    total = rng.randint(2, most)
    count = rng.randint(2, min(768, total))
    first = rng.choice([0, rng.randrange(total - 1)])
    yield first, rng.choice([total - 1, rng.randrange(first + 1, total)]), count


@pytest.mark.parametrize("most", [100, 5000, 200_000])
def test_even_numbers_between_two_are_torchs_bit_for_bit(most):
  for first, last, count in lists(most, most):
    found = float_ranges.linspace(first, last, count)
    np.testing.assert_array_equal(found, torch.linspace(first, last, count).numpy())


@pytest.mark.parametrize("most", [100, 5000, 200_000])
def test_numbers_in_even_steps_are_torchs_bit_for_bit(most):
  for _, last, count in lists(most, most):
    total = last + 1
    found = float_ranges.arange(total, total / count)
    np.testing.assert_array_equal(found, torch.arange(0, total, total / count).numpy())
