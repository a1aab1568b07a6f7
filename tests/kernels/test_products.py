"""Products inside kernels: by hand, and whatever the ambient precision is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.kernels import products


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_transposed_is_read_so(dtype):
  a, b = jnp.array([[1, 2], [3, 4]], dtype), jnp.array([[5, 6], [7, 8]], dtype)
  x, y = np.asarray(a, np.float32), np.asarray(b, np.float32)
  for how, wanted in ((products.NN, x @ y), (products.NT, x @ y.T), (products.TN, x.T @ y)):
    found = products.dot(a, b, how)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
  ("dtype", "precision"), [(jnp.float32, "HIGHEST"), (jnp.bfloat16, "DEFAULT")]
)
@pytest.mark.parametrize("ambient", ["bfloat16", "highest"])
def test_the_precision_is_the_kernels_own(dtype, precision, ambient):
  x = jnp.ones((2, 2), dtype)
  with jax.default_matmul_precision(ambient):
    (product,) = jax.make_jaxpr(products.dot)(x, x).eqns
  assert {p.name for p in product.params["precision"]} == {precision}
