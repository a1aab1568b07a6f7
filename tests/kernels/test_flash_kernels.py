"""The kernels of attention by the TPU compiler; test_flash_attention.py has their values."""

import jax
import jax.numpy as jnp
import pytest

from bench.tpu import chips
from cot_rm.kernels import flash_attention as flash


@pytest.mark.parametrize("chip", list(chips.CHIPS))
@pytest.mark.parametrize(
  ("heads", "size", "causal"),
  [((16, 2), 128, True), ((28, 4), 128, True), ((64, 8), 128, True), ((16, 16), 80, False)],
)
def test_the_kernels_compile_for_a_chip(chip, heads, size, causal):
  """The decoders of the 3b, 7b and 72b presets, and the vision tower."""
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  T = 2048
  x = lambda n: jax.ShapeDtypeStruct((1, T, n, size), jnp.bfloat16)
  ids = jax.ShapeDtypeStruct((1, T), jnp.int32)

  def loss(q, k, v, segments):
    o, _ = flash.flash_attention(q, k, v, segments, segments, causal=causal)
    return o.astype(jnp.float32).sum()

  given = chips.on(chips.one(chip), (x(heads[0]), x(heads[1]), x(heads[1]), ids))
  compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*given).compile()
  assert compiled.as_text().count('custom_call_target="tpu_custom_call"') == 2
