"""Matrix products and block sizes that the kernels share."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import tpu as pltpu

LANES = 128  # values in a row of a vector register

# Contracted axes of (first, second matrix); T: the operand is read transposed.
Contraction = tuple[tuple[tuple[int], tuple[int]], tuple[tuple[()], tuple[()]]]
NN: Contraction = (((1,), (0,)), ((), ()))
NT: Contraction = (((1,), (1,)), ((), ()))
TN: Contraction = (((0,), (0,)), ((), ()))

# (kernel, chip): {longest row: positions of a block}. Longer rows take the last entry. The table is
# printed by `python bench/kernels.py`.
BLOCK_SIZES: Mapping[tuple[str, str], Mapping[int, int]] = {
  ("flash_attention", "v5e"): {2048: 512, 8192: 512},
  ("flash_attention", "v5p"): {2048: 512, 8192: 512},
  ("flash_attention", "v6e"): {2048: 512, 8192: 1024},
}
DEFAULT_BLOCK_SIZE = 512


def matmul(a: jax.Array, b: jax.Array, axes: Contraction = NN) -> jax.Array:
  """Product of two matrices with a float32 result.

  bfloat16 operands take one pass, float32 operands as many as keep full precision. Precision and
  result are explicit because a program's ambient matmul precision is not meant for its kernels.
  """
  precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else lax.Precision.DEFAULT
  return lax.dot_general(a, b, axes, precision=precision, preferred_element_type=jnp.float32)


def block_size(kernel: str, length: int) -> int:
  """The fastest number of positions per block, for rows of `length` on the ambient mesh's chip."""
  sizes = BLOCK_SIZES.get((kernel, _chip()), {})
  fitting = [size for longest, size in sizes.items() if length <= longest]
  return fitting[0] if fitting else [DEFAULT_BLOCK_SIZE, *sizes.values()][-1]


def _chip() -> str:
  """Name of the chip as in bench/tpu/chips.py; "" without a TPU, where kernels are interpreted."""
  if not pltpu.is_tpu_device():
    return ""
  name = str(pltpu.get_tpu_info().chip_version)
  return f"tpu{name}" if name[0].isdigit() else name
