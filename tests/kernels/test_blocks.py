"""The table of the best blocks."""

import jax
import pytest

from bench.tpu import chips
from cot_rm.kernels import blocks


def test_rows_hold_up_to_their_length_and_the_last_beyond(monkeypatch):
  monkeypatch.setattr(blocks, "BEST", {("flash_attention", "v6e"): {2048: 512, 8192: 1024}})
  monkeypatch.setattr(blocks, "_chip", lambda: "v6e")
  found = [blocks.best("flash_attention", length) for length in (1, 2048, 2049, 8192, 9000)]
  assert found == [512, 512, 1024, 1024, 1024]
  assert blocks.best("another", 9000) == blocks.USUAL


def test_without_a_tpu_blocks_are_the_usual():
  assert blocks.best("flash_attention", 100) == blocks.USUAL


@pytest.mark.parametrize("chip", list(chips.CHIPS))
def test_a_chip_is_known_by_the_name_that_chips_gives_it(chip):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  with jax.set_mesh(chips.one(chip).mesh):
    assert blocks._chip() == chip
