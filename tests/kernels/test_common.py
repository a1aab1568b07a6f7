"""Matrix products inside kernels, and the table of block sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench.tpu import chips
from cot_rm.kernels import common


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_matmul_contracts_the_axes_that_it_is_told(dtype):
  a, b = jnp.array([[1, 2], [3, 4]], dtype), jnp.array([[5, 6], [7, 8]], dtype)
  x, y = np.asarray(a, np.float32), np.asarray(b, np.float32)
  for axes, wanted in ((common.NN, x @ y), (common.NT, x @ y.T), (common.TN, x.T @ y)):
    found = common.matmul(a, b, axes)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  ("dtype", "precision"), [(jnp.float32, "HIGHEST"), (jnp.bfloat16, "DEFAULT")]
)
@pytest.mark.parametrize("ambient", ["bfloat16", "highest"])
def test_matmul_ignores_the_ambient_precision(dtype, precision, ambient):
  x = jnp.ones((2, 2), dtype)
  with jax.default_matmul_precision(ambient):
    (product,) = jax.make_jaxpr(common.matmul)(x, x).eqns
  assert {p.name for p in product.params["precision"]} == {precision}


def test_an_entry_holds_up_to_its_length_and_the_last_one_beyond(monkeypatch):
  monkeypatch.setattr(common, "BLOCK_SIZES", {("flash_attention", "v6e"): {2048: 512, 8192: 1024}})
  monkeypatch.setattr(common, "_chip", lambda: "v6e")
  found = [common.block_size("flash_attention", n) for n in (1, 2048, 2049, 8192, 9000)]
  assert found == [512, 512, 1024, 1024, 1024]
  assert common.block_size("another", 9000) == common.DEFAULT_BLOCK_SIZE


def test_without_a_tpu_blocks_have_the_default_size():
  assert common.block_size("flash_attention", 100) == common.DEFAULT_BLOCK_SIZE


@pytest.mark.parametrize("chip", list(chips.CHIPS))
def test_a_chip_has_the_name_of_the_table_of_chips(chip):
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  with jax.set_mesh(chips.one(chip).mesh):
    assert common._chip() == chip
