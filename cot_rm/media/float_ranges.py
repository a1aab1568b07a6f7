"""Evenly spaced numbers in float32, bit for bit those of torch.linspace and torch.arange.

The frames of a long video depend on the last bits. They are those of torch's CPU kernels on x86
processors with AVX2, which round a product and a sum once; older ones round twice.
"""

import math

import numpy as np

LANES = 8  # numbers that torch.arange computes at once
BLOCK = 2 * LANES  # the rest of the numbers, less than a block, is computed one by one


def linspace(start: int, end: int, count: int) -> np.ndarray:
  """f32[count] from `start` to `end`, as torch.linspace(start, end, count).

  Args:
    start: the first number.
    end: the last.
    count: how many, 2 or more.
  """
  step = np.float64((np.float32(end) - np.float32(start)) / np.float32(count - 1))
  # float64 holds the products and sums exactly: they are rounded once, as by a fused multiply-add.
  from_start = start + step * np.arange(count)
  from_end = end - step * np.arange(count)[::-1]
  return np.where(np.arange(count) < count // 2, from_start, from_end).astype(np.float32)


def arange(end: int, step: float) -> np.ndarray:
  """f32[ceil(end / step)] from 0 in steps, as torch.arange(0, end, step)."""
  places = np.arange(math.ceil(end / step))
  out = (places * step).astype(np.float32)
  whole = len(out) // BLOCK * BLOCK
  # A vector of lanes starts from a number in float32.
  first = out[:whole:LANES].astype(np.float64).repeat(LANES)
  out[:whole] = first + places[:whole] % LANES * step
  return out
