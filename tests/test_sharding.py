"""Meshes, rules and where arrays live."""

import socket
import subprocess
import sys

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


def test_what_cannot_be_shared_equally_is_laid_out_by_its_other_axes():
  x = jnp.zeros((3, 8, 5))
  assert sharding.lay(x, "batch", "mlp") is x
  with sharding.use(mesh(), RULES):
    laid = jax.jit(lambda x: sharding.lay(x, "batch", "mlp"))(x)
  wanted = NamedSharding(mesh(), P(None, ("data", "fsdp"), None))
  assert laid.sharding.is_equivalent_to(wanted, x.ndim)


def test_a_batch_is_spread_over_the_batch_axes():
  batch = sharding.put({"tokens": np.arange(16).reshape(8, 2)}, mesh(), RULES)
  assert batch["tokens"].sharding.spec == P(("data", "fsdp"))
  np.testing.assert_array_equal(batch["tokens"], np.arange(16).reshape(8, 2))


def test_a_batch_is_parted_by_the_axes_of_its_rule():
  assert sharding.shares(mesh(), RULES) == 4 and sharding.shares(mesh(), {"batch": "data"}) == 1
  assert sharding.shares(mesh(), {}) == 1


@pytest.mark.parametrize(
  ("rows", "heads", "seen"), [(8, 4, (2, 2)), (6, 4, (6, 2)), (8, 3, (2, 3))]
)
def test_each_device_does_its_own_share(rows, heads, seen):
  """Eight rows in four shares are two for each; six cannot be shared, nor three heads by two."""
  rules = RULES | {"heads": "tensor", "kv_heads": "tensor"}
  size = lambda x, n_B: x + jnp.array([len(n_B), x.shape[2]]).reshape(1, 1, 1, 2)
  x_3BN2, n_B = jnp.zeros((3, rows, heads, 2)), jnp.arange(rows)
  shares = lambda: sharding.by_shares(size, (x_3BN2, ("batch", "heads", None)), (n_B, ("batch",)))
  assert shares()[0, 0, 0].tolist() == [rows, heads]
  with sharding.use(mesh(), rules):
    assert np.unique(jax.jit(shares)().reshape(-1, 2), axis=0).tolist() == [list(seen)]
    # Where one argument's heads cannot be parted, another's are not either.
    both = lambda: sharding.by_shares(
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


def test_alone_a_process_is_everyone():
  x = np.arange(6).reshape(3, 2)
  np.testing.assert_array_equal(sharding.everyone(x), x)
  np.testing.assert_array_equal(sharding.own(x), x)
  np.testing.assert_array_equal(sharding.everyone([3]), [3])


@pytest.mark.parametrize("rules", [RULES, {"batch": "data"}])
def test_local_gives_back_what_was_put(rules):
  x = np.arange(32.0).reshape(16, 2)
  np.testing.assert_array_equal(sharding.local(sharding.put(x, mesh(), rules)), x)


PROCESS = """
import sys
import jax
import numpy as np

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
rank = int(sys.argv[1])
jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", num_processes=2, process_id=rank)
from cot_rm import sharding

mine = np.arange(6).reshape(3, 2) + 100 * rank
every = sharding.everyone(mine)
np.testing.assert_array_equal(every[:, 0], [0, 2, 4, 100, 102, 104])
np.testing.assert_array_equal(sharding.own(every), mine)
assert sharding.everyone([7 - rank]).min() == 6
mesh, rows = sharding.make_mesh({"data": 4}), np.arange(4.0)[:, None] + 10 * rank
put = sharding.put(rows, mesh, {"batch": "data"})
assert put.shape == (8, 1)
np.testing.assert_array_equal(sharding.local(put), rows)
"""


def test_two_processes_each_have_their_own_and_see_all():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
  run = lambda rank: subprocess.Popen(
    [sys.executable, "-c", PROCESS, str(rank), port], stderr=subprocess.PIPE, text=True
  )
  both = [run(0), run(1)]
  errors = [process.communicate(timeout=120)[1] for process in both]
  assert [process.returncode for process in both] == [0, 0], "\n".join(errors)
