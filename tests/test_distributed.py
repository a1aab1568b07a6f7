"""Host arrays of several processes as global arrays, and back."""

import socket
import subprocess
import sys

import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from cot_rm import distributed, sharding

RULES = {"batch": ("data", "fsdp")}


def mesh():
  return sharding.make_mesh({"data": 1, "fsdp": -1, "tensor": 2})


def test_a_batch_is_spread_over_the_batch_axes():
  batch = distributed.shard_batch({"tokens": np.arange(16).reshape(8, 2)}, mesh(), RULES)
  assert batch["tokens"].sharding.spec == P(("data", "fsdp"))
  np.testing.assert_array_equal(batch["tokens"], np.arange(16).reshape(8, 2))


def test_a_lone_process_gathers_its_own_rows():
  x = np.arange(6).reshape(3, 2)
  np.testing.assert_array_equal(distributed.all_gather_host(x), x)
  np.testing.assert_array_equal(distributed.own_rows(x), x)
  np.testing.assert_array_equal(distributed.all_gather_host([3]), [3])


@pytest.mark.parametrize("rules", [RULES, {"batch": "data"}])
def test_to_local_is_the_inverse_of_shard_batch(rules):
  x = np.arange(32.0).reshape(16, 2)
  np.testing.assert_array_equal(distributed.to_local(distributed.shard_batch(x, mesh(), rules)), x)


PROCESS = """
import sys
import jax
import numpy as np

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
rank = int(sys.argv[1])
jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", num_processes=2, process_id=rank)
from cot_rm import distributed, sharding

mine = np.arange(6).reshape(3, 2) + 100 * rank
every = distributed.all_gather_host(mine)
np.testing.assert_array_equal(every[:, 0], [0, 2, 4, 100, 102, 104])
np.testing.assert_array_equal(distributed.own_rows(every), mine)
assert distributed.all_gather_host([7 - rank]).min() == 6
mesh, rows = sharding.make_mesh({"data": 4}), np.arange(4.0)[:, None] + 10 * rank
laid = distributed.shard_batch(rows, mesh, {"batch": "data"})
assert laid.shape == (8, 1)
np.testing.assert_array_equal(distributed.to_local(laid), rows)
with sharding.use(mesh, {"batch": "data"}):
  assert distributed.num_local_batch_shards() == distributed.batch_divisor() == 2
  np.testing.assert_array_equal(distributed.to_local(distributed.to_global(rows)), rows)
"""


def test_each_of_two_processes_has_its_own_rows_and_gathers_all_rows():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
  run = lambda rank: subprocess.Popen(
    [sys.executable, "-c", PROCESS, str(rank), port], stderr=subprocess.PIPE, text=True
  )
  both = [run(0), run(1)]
  errors = [process.communicate(timeout=120)[1] for process in both]
  assert [process.returncode for process in both] == [0, 0], "\n".join(errors)
