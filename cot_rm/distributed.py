"""Rows of several processes: host arrays to global arrays and back.

Each process holds its own rows of a batch; a program of all processes takes global arrays. With one
process most of these functions return their argument.
"""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from cot_rm import sharding
from cot_rm.sharding import Rules, Tree


def shard_batch(batch: Tree, mesh: Mesh, rules: Rules) -> Tree:
  """Host arrays, the rows of this process, to global arrays with the first axis over "batch"."""
  layout = NamedSharding(mesh, sharding.spec(("batch",), rules))
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(layout, np.asarray(x)), batch
  )


def to_global(tree: Tree) -> Tree:
  """`shard_batch` by the ambient mesh and rules; with one process the tree itself."""
  return tree if jax.process_count() == 1 else shard_batch(tree, *sharding.ambient())


def to_local(tree: Tree) -> Tree:
  """Inverse of `to_global` and `shard_batch`: host arrays of the rows of this process."""
  return jax.device_get(tree) if jax.process_count() == 1 else jax.tree.map(_addressable_rows, tree)


def _addressable_rows(x: jax.Array) -> np.ndarray:
  """Rows of a global array that are on devices of this process, in order."""
  rows = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
  return np.concatenate([np.asarray(rows[start]) for start in sorted(rows)])


def batch_divisor() -> int:
  """Number that must divide the rows of a process in a batch of all processes.

  Raises ValueError if the ambient rules do not spread "batch" evenly over all processes.
  """
  if jax.process_count() == 1:
    return 1
  shards = sharding.num_batch_shards(*sharding.ambient())
  count, rest = divmod(shards, jax.process_count())
  if rest or not count:
    raise ValueError(
      f'the axis "batch" has {shards} shards for {jax.process_count()} processes, not a multiple; '
      f"change the mesh's shape (config.mesh.shape) or its rules"
    )
  return count


def num_local_batch_shards() -> int:
  """Number of shards of "batch" in this process by the ambient rules; 1 outside `sharding.use`."""
  scope = sharding.ambient()
  return sharding.num_batch_shards(*scope) // jax.process_count() if scope else 1


def all_gather_host(x: np.ndarray | list) -> np.ndarray:
  """Host arrays of all processes, concatenated in process order, on every process."""
  if jax.process_count() == 1:
    return np.asarray(x)
  return np.asarray(multihost_utils.process_allgather(np.asarray(x), tiled=True))


def gather_json(value: object) -> list[object]:
  """The values of all processes, in process order, on every process; each is a value of JSON."""
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = all_gather_host([len(data)])
  padded = np.pad(data, (0, sizes.max() - len(data)))
  rows = all_gather_host(padded[None])
  return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes.tolist(), strict=True)]


def own_rows(x: np.ndarray) -> np.ndarray:
  """Inverse of `all_gather_host`: the rows of this process."""
  return np.split(x, jax.process_count())[jax.process_index()]
