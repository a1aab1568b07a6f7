"""Sizes of blocks, and the blocks that see one another."""

import jax.numpy as jnp
import pytest

from bench.tpu import chips
from cot_rm.kernels import block_mask, common


@pytest.mark.parametrize("chip", ["", *chips.CHIPS])
@pytest.mark.parametrize("length", [1, 100, 511, 513, 1900, 2047, 2049, 4097, 8191, 8193, 30_000])
def test_a_row_padded_to_whole_blocks_has_blocks_of_the_same_size(chip, length, monkeypatch):
  """Later steps know only the padded length."""
  monkeypatch.setattr(common, "_chip", lambda: chip)
  size = block_mask.block_length(length)
  padded = -(-length // size) * size
  assert block_mask.block_length(padded) == size and padded < length + 1024
  assert length <= block_mask.MAX_VMEM_LENGTH or block_mask.MAX_VMEM_LENGTH % size == 0


def test_causal_blocks_see_earlier_blocks_and_need_a_mask_on_the_diagonal():
  one = jnp.ones((1, 3), jnp.int32)
  blocks = block_mask.BlockSegments(one, one, 128)
  mask = block_mask.block_mask(blocks, blocks, True, 0)
  assert mask.needed[0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
  assert mask.full[0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
  # Start, first full block, end of the full blocks, end.
  assert block_mask.block_ranges(mask).T.tolist() == [[0, 1, 1, 1], [0, 0, 1, 2], [0, 0, 2, 3]]


def test_parts_of_long_rows_leave_out_keys_that_no_query_sees(monkeypatch):
  monkeypatch.setattr(block_mask, "MAX_VMEM_LENGTH", 256)
  first, second = slice(0, 256), slice(256, 300)
  assert block_mask.visible_parts(300, 300, True, 0) == [
    (first, [first]),
    (second, [first, second]),
  ]
  assert block_mask.visible_parts(300, 300, False, 0)[0] == (first, [first, second])
