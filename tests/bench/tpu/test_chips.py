"""Data sheets of chips, and the compiler for them."""

import jax
import jax.numpy as jnp
import pytest

from bench.tpu import chips


@pytest.mark.parametrize(
  ("chip", "gigahertz"), [("v5e", 1.5), ("v5p", 1.75), ("v6e", 1.75), ("tpu7x", 2.2)]
)
def test_the_clock_follows_from_flops_and_cycle_flops(chip, gigahertz):
  assert chips.CHIPS[chip].clock / 1e9 == pytest.approx(gigahertz, rel=0.005)


@pytest.mark.parametrize("chip", list(chips.CHIPS))
def test_a_product_compiles_for_a_chip(chip):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  x = chips.on(chips.one(chip), jnp.zeros((256, 512), jnp.bfloat16))
  compiled = jax.jit(lambda x: x @ x.T).lower(x).compile()
  assert "T(8,128)(2,1)" in compiled.as_text()  # a TPU's tiles
  assert compiled.cost_analysis()["flops"] == 2 * 256 * 256 * 512
  assert compiled.memory_analysis().argument_size_in_bytes == x.size * 2
