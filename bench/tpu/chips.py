"""TPU chips by their data sheets, and layouts to compile for them on a machine without a TPU.

libtpu compiles for a topology that does not exist here: `jax.jit(f).lower(*shapes).compile()`, with
the layouts of `one` in the shapes.
"""

import dataclasses
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies


@dataclasses.dataclass(frozen=True)
class Chip:
  """Data sheet of a chip, dense bfloat16."""

  topology: str  # name of a slice of one chip
  flops: float  # per second
  bandwidth: float  # bytes of HBM per second
  memory: float  # bytes of HBM
  cores: int  # cores that share a program; each has its part of the flops
  cycle_flops: int  # flops of a core per cycle
  matrix_units: int  # of a core
  tile: int  # rows and columns of the second matrix that a matrix unit holds

  @property
  def clock(self) -> float:
    """Cycles per second."""
    return self.flops / self.cores / self.cycle_flops


CHIPS = {
  "v5e": Chip("v5e:1x1", 197e12, 819e9, 16e9, 1, 131_072, 4, 128),
  "v5p": Chip("v5p:1x1x1", 459e12, 2765e9, 95e9, 2, 131_072, 4, 128),
  "v6e": Chip("v6e:1x1", 918e12, 1640e9, 32e9, 1, 524_288, 2, 256),
  "tpu7x": Chip("tpu7x:1x1x1", 2307e12, 7380e9, 192e9, 2, 524_288, 2, 256),
}


def devices(
  topology: str, *, chips_per_host_bounds: Sequence[int] | None = None
) -> Sequence[jax.Device]:
  """Devices of a TPU topology, such as "v5e:8x8", to compile for.

  chips_per_host_bounds: chips of a host along each axis; None: the topology's default.

  Raises ImportError if libtpu is not installed.
  """
  import libtpu  # noqa: F401  the compiler itself

  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no metadata server to ask for the hosts
  # No chip is used: another process may use one, or compile at the same time.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
  bounds = {"chips_per_host_bounds": chips_per_host_bounds} if chips_per_host_bounds else {}
  return topologies.get_topology_desc(platform="tpu", topology_name=topology, **bounds).devices


def one(chip: str) -> jax.NamedSharding:
  """A layout for arrays on one chip of CHIPS; kernels read the chip from its mesh."""
  found = devices(CHIPS[chip].topology, chips_per_host_bounds=[1, 1, 1])
  return jax.NamedSharding(jax.sharding.Mesh(found[:1], ("chip",)), jax.P())


def on(layout: jax.sharding.Sharding, tree: object) -> object:
  """The tree with a ShapeDtypeStruct of this layout for every array."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout), tree)
