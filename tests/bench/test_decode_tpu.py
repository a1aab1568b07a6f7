"""What a token of decoding moves: what must move, by hand, and a program that is compiled."""

import pytest

from cot_rm.models import qwen2_5_vl


def test_what_must_move_is_weights_once_and_keys_and_values(bench):
  """Of the 7b: its matrices without embedding and pictures, 7.07 G, and 28 layers of 4 kv heads."""
  positions = 8 * (1024 + 8 * 256)
  weights = 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944) + 152064 * 3584
  kept = 28 * 2 * 4 * 128 * positions
  assert bench.needed(qwen2_5_vl.PRESETS["7b"]) == 2 * (weights + kept)


def test_a_program_moves_at_least_that(bench):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  found = bench.measure("tiny", "v5e:1x1", 16)
  assert (
    found["needed"] < found["moved"] < 3 * found["needed"]
  )  # so small, most is padding of tiles
  assert 0 < found["cycles"] and 0 < found["arguments"]
