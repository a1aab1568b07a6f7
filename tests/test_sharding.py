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
  with pytest.raises(ValueError, match="needs 3 devices, but there are 8; .*config.mesh.shape"):
    sharding.make_mesh({"data": 3})


@pytest.mark.parametrize(
  "rules, words",
  [
    ({"embed": "fsdpp"}, "config.mesh.x.embed names the mesh axis 'fsdpp'; did you mean 'fsdp'"),
    ({"batch": ("data", "rows")}, "config.mesh.x.batch names the mesh axis 'rows'"),
    ({"embed": "fsdp", "mlp": ("fsdp", "tensor")}, "config.mesh.x: embed and mlp .* over fsdp,"),
  ],
)
def test_rules_of_unknown_or_repeated_axes_are_named(rules, words):
  mesh = sharding.make_mesh({"data": 1, "fsdp": -1, "tensor": 1})
  with pytest.raises(ValueError, match=words):
    sharding.check_rules(mesh, rules, "config.mesh.x")
  sharding.check_rules(mesh, {"embed": "fsdp", "mlp": "tensor", "vocab": None}, "config.mesh.x")


def test_parameters_go_where_their_logical_axes_say():
  tree = {"w": nnx.Param(jnp.zeros((8, 4)), axes=("embed", "mlp")), "step": jnp.zeros(())}
  found = sharding.shardings_of(tree, mesh(), RULES)
  assert found["w"].get_value().spec == P("fsdp", "tensor") and found["step"].spec == P()


def test_constrain_is_nothing_outside_and_a_layout_inside():
  x = jnp.zeros((8, 6))
  assert sharding.constrain(x, "batch", "mlp") is x
  with sharding.use(mesh(), RULES):
    laid = jax.jit(lambda x: sharding.constrain(x, "batch", "mlp"))(x)
  wanted = NamedSharding(mesh(), P(("data", "fsdp"), "tensor"))
  assert laid.sharding.is_equivalent_to(wanted, x.ndim)


def test_an_uneven_dimension_is_left_replicated_and_the_others_are_sharded():
  x = jnp.zeros((3, 8, 5))
  assert sharding.constrain_if_even(x, "batch", "mlp") is x
  with sharding.use(mesh(), RULES):
    laid = jax.jit(lambda x: sharding.constrain_if_even(x, "batch", "mlp"))(x)
  wanted = NamedSharding(mesh(), P(None, ("data", "fsdp"), None))
  assert laid.sharding.is_equivalent_to(wanted, x.ndim)


def test_the_batch_axis_has_as_many_shards_as_the_mesh_axes_of_its_rule():
  assert sharding.num_batch_shards(mesh(), RULES) == 4
  assert sharding.num_batch_shards(mesh(), {"batch": "data"}) == 1
  assert sharding.num_batch_shards(mesh(), {}) == 1


@pytest.mark.parametrize(
  ("rows", "heads", "seen"), [(8, 4, (2, 2)), (6, 4, (6, 2)), (8, 3, (2, 3))]
)
def test_a_shard_mapped_function_sees_its_own_shard(rows, heads, seen):
  """Eight rows in four shards are two each; six rows or three heads cannot be sharded evenly."""
  rules = RULES | {"heads": "tensor", "kv_heads": "tensor"}
  size = lambda x, n_B: x + jnp.array([len(n_B), x.shape[2]]).reshape(1, 1, 1, 2)
  x_3BN2, n_B = jnp.zeros((3, rows, heads, 2)), jnp.arange(rows)
  run = lambda: sharding.shard_map_logical(
    size, (x_3BN2, ("batch", "heads", None)), (n_B, ("batch",))
  )
  assert run()[0, 0, 0].tolist() == [rows, heads]
  with sharding.use(mesh(), rules):
    assert np.unique(jax.jit(run)().reshape(-1, 2), axis=0).tolist() == [list(seen)]
    # If one argument's heads are uneven, the other argument's heads are not sharded either.
    both = lambda: sharding.shard_map_logical(
      lambda x, y: x + x.shape[1],
      (x_3BN2, ("heads", None)),
      (jnp.zeros((5, 3)), (None, "kv_heads")),
    )
    if heads == 4:
      assert (jax.jit(both)() == rows).all()


def test_the_platform_is_the_meshs():
  assert sharding.platform() == "cpu"
  with sharding.use(mesh(), RULES):
    assert sharding.platform() == "cpu"


def test_a_parameter_that_cannot_be_sharded_evenly_is_whole_and_said_once(caplog):
  tree = {
    "a": nnx.Param(jnp.zeros((8, 1667)), axes=("embed", "mlp")),
    "b": nnx.Param(jnp.zeros((1667,)), axes=("mlp",)),
    "c": nnx.Param(jnp.zeros((6, 4)), axes=("embed", "mlp")),
  }
  with caplog.at_level("INFO"):
    found = sharding.shardings_of(tree, mesh(), RULES)
  assert found["a"].get_value().spec == P("fsdp", None) and found["b"].get_value().spec == P(None)
  assert found["c"].get_value().spec == P(None, "tensor")
  said = [line for line in caplog.messages if "'mlp' of 1667 is no multiple of 2" in line]
  assert len(said) == 1


def test_mesh_axes_that_are_no_product_of_the_torus_s_axes_split_one():
  """16 x 4 on 8 x 8 chips, by the layout that the compiler for TPUs knows."""
  chips = pytest.importorskip("bench.tpu.chips")
  pytest.importorskip("libtpu")
  made = sharding.make_mesh({"data": 1, "fsdp": 16, "tensor": 4}, chips.devices("v6e:8x8"))
  assert dict(made.shape) == {"data": 1, "fsdp": 16, "tensor": 4}
  assert len({device.id for device in made.devices.flat}) == 64
