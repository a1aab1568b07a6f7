"""Meshes, rules and where arrays live."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from cot_rm import sharding

RULES = {"batch": ("data", "fsdp"), "embed": "fsdp", "mlp": "tensor"}


def mesh():
  return sharding.make_mesh({"data": 1, "fsdp": -1, "tensor": 2})


def test_minus_one_takes_the_devices_that_are_left():
  assert dict(mesh().shape) == {"data": 1, "fsdp": 4, "tensor": 2}


def test_a_mesh_that_does_not_fit_says_so():
  with pytest.raises(ValueError, match="3 places for 8 devices.*config.mesh.shape"):
    sharding.make_mesh({"data": 3})


def test_parameters_go_where_their_logical_axes_say():
  tree = {"w": nnx.Param(jnp.zeros((8, 4)), axes=("embed", "mlp")), "step": jnp.zeros(())}
  found = sharding.of(tree, mesh(), RULES)
  assert found["w"].get_value().spec == P("fsdp", "tensor") and found["step"].spec == P()


def test_constrain_is_nothing_outside_and_a_layout_inside():
  x = jnp.zeros((8, 6))
  assert sharding.constrain(x, "batch", "mlp") is x
  with sharding.use(mesh(), RULES):
    laid = jax.jit(lambda x: sharding.constrain(x, "batch", "mlp"))(x)
  wanted = NamedSharding(mesh(), P(("data", "fsdp"), "tensor"))
  assert laid.sharding.is_equivalent_to(wanted, x.ndim)


def test_a_batch_is_spread_over_the_batch_axes():
  batch = sharding.put({"tokens": np.arange(16).reshape(8, 2)}, mesh(), RULES)
  assert batch["tokens"].sharding.spec == P(("data", "fsdp"))
  np.testing.assert_array_equal(batch["tokens"], np.arange(16).reshape(8, 2))
