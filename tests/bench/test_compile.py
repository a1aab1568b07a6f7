"""Programs of a pod: counts by hand, and one compiled program."""

import math

import jax
import pytest

from cot_rm import train
from cot_rm.models import qwen2_5_vl


@pytest.mark.parametrize("preset", ["3b", "7b"])
def test_the_count_of_matrices_is_the_models(bench, preset):
  c = qwen2_5_vl.PRESETS[preset]
  _, params = train.abstract_model(lambda rngs: qwen2_5_vl.Model(c, rngs=rngs))
  count = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
  batch = bench.hand_arguments(c, "sft", bench.Slice("", 1)) - 12 * count
  given = bench.ROWS * (28 * bench.TOKENS + 4 * bench.PATCHES * (c.vision.patch_dim + 4))
  assert batch == pytest.approx(given, rel=0.1)  # the rest is vectors, 0.05 % of the weights


def test_a_slice_says_how_its_chips_share_the_weights(bench):
  assert str(bench.Slice("v5e:8x8", 64)) == "v5e:8x8, fsdp 64"
  assert str(bench.Slice("v5p:2x2x4", 4, 4)) == "v5p:2x2x4, fsdp 4 x tensor 4"


def test_twice_the_rows_are_twice_the_flops(bench):
  c = qwen2_5_vl.PRESETS["72b"]
  for program in bench.PROGRAMS:
    assert bench.hand_flops(c, program, rows=128) == 2 * bench.hand_flops(c, program, rows=64)


def test_more_shards_are_less_for_each_chip(bench):
  c = qwen2_5_vl.PRESETS["7b"]
  for program in bench.PROGRAMS:
    one, shard = (bench.hand_arguments(c, program, bench.Slice("", n)) for n in (1, 64))
    assert one == pytest.approx(64 * shard)
    # All weights are gathered, whatever the number of chips.
    few, many = (bench.hand_sent(c, program, bench.Slice("", n)) for n in (16, 64))
    assert few == many


def test_a_compiled_program_agrees_with_the_count_by_hand(bench):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  found = bench.measure("tiny", bench.Slice("v5e:2x4", 8), "decode")
  assert found["flops"] == pytest.approx(found["hand_flops"], rel=0.01)
  assert 0 < found["total"] < found["memory"] == 16e9
  assert found["arguments"] == pytest.approx(found["hand_arguments"], rel=0.25)  # and masks, tiles
  assert sum(found["sent"].values()) > 0
