"""Programs of a pod: what is counted by hand, and one that is compiled."""

import math

import jax
import pytest

from cot_rm import train
from cot_rm.models import qwen2_5_vl


@pytest.mark.parametrize("preset", ["3b", "7b"])
def test_matrices_by_hand_are_the_models(bench, preset):
  c = qwen2_5_vl.PRESETS[preset]
  _, params = train.abstract_model(lambda rngs: qwen2_5_vl.Model(c, rngs=rngs))
  count = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
  batch = bench.arguments(c, "sft", fsdp=1, tensor=1) - 12 * count
  given = bench.ROWS * (28 * bench.TOKENS + 4 * bench.PATCHES * (c.vision.patch_dim + 4))
  assert batch == pytest.approx(given, rel=0.1)  # the rest is vectors, 0.05 % of the weights


def test_a_slice_says_how_its_chips_share_the_weights(bench):
  assert str(bench.Slice("v5e:8x8", 64)) == "v5e:8x8, fsdp 64"
  assert str(bench.Slice("v5p:2x2x4", 4, 4)) == "v5p:2x2x4, fsdp 4 x tensor 4"


def test_twice_the_rows_are_twice_the_flops(bench):
  c = qwen2_5_vl.PRESETS["72b"]
  for what in bench.PROGRAMS:
    assert bench.products(c, what, rows=128) == 2 * bench.products(c, what, rows=64)


def test_more_shares_are_less_for_each_chip(bench):
  c = qwen2_5_vl.PRESETS["7b"]
  for what in bench.PROGRAMS:
    whole, part = (bench.arguments(c, what, fsdp=n, tensor=1) for n in (1, 64))
    assert whole == pytest.approx(64 * part)
    # What is gathered is all of the weights, however many chips there are.
    assert bench.sending(c, what, fsdp=64, tensor=1) == bench.sending(c, what, fsdp=16, tensor=1)


def test_a_program_is_held_against_the_hand(bench):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  found = bench.measure("tiny", bench.Slice("v5e:2x4", 8), "decode")
  assert found["flops"] == pytest.approx(found["hand_flops"], rel=0.01)
  assert 0 < found["total"] < found["memory"] == 16e9
  assert found["arguments"] == pytest.approx(found["hand_arguments"], rel=0.25)  # and masks, tiles
  assert sum(found["sent"].values()) > 0
