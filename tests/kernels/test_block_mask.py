"""How large blocks are, and which see one another."""

import jax.numpy as jnp
import pytest

from bench.tpu import chips
from cot_rm.kernels import block_mask, blocks


@pytest.mark.parametrize("chip", ["", *chips.CHIPS])
@pytest.mark.parametrize("length", [1, 100, 511, 513, 1900, 2047, 2049, 4097, 8191, 8193, 30_000])
def test_what_is_padded_to_blocks_has_the_same_blocks(chip, length, monkeypatch):
  """As the length of what is padded is all that later steps know."""
  monkeypatch.setattr(blocks, "_chip", lambda: chip)
  size = block_mask.block(length)
  padded = -(-length // size) * size
  assert block_mask.block(padded) == size and padded < length + 1024
  assert length <= block_mask.LONGEST or block_mask.LONGEST % size == 0


def test_causal_blocks_see_what_is_before_them_and_need_a_mask_on_the_diagonal():
  one = jnp.ones((1, 3), jnp.int32)
  need, full = block_mask.spans(one, one, one, one, 128, 128, True, 0)
  assert need[0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
  assert full[0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
  # From, to the first that needs no mask, to behind the last of these, to the end.
  assert block_mask.ends(need, full).T.tolist() == [[0, 1, 1, 1], [0, 0, 1, 2], [0, 0, 2, 3]]


def test_parts_of_long_rows_leave_out_those_that_are_not_seen(monkeypatch):
  monkeypatch.setattr(block_mask, "LONGEST", 256)
  first, second = slice(0, 256), slice(256, 300)
  assert block_mask.pairs(300, 300, True, 0) == [(first, [first]), (second, [first, second])]
  assert block_mask.pairs(300, 300, False, 0)[0] == (first, [first, second])
