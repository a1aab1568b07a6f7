"""TPU chips by their data sheets, and the real TPU compiler on a machine without one.

libtpu compiles for a topology that is not there: `jax.jit(f).lower(*shapes on device).compile()`.
"""

import dataclasses
import os

import jax
from jax.experimental import topologies


@dataclasses.dataclass(frozen=True)
class Chip:
  """Data sheet: of a chip, dense bfloat16."""

  topology: str  # of one chip
  flops: float  # a second
  bandwidth: float  # bytes of HBM a second
  memory: float  # bytes of HBM
  cores: int  # that a program's steps are shared by; each has a share of the flops
  cycle_flops: int  # of a core in a cycle
  units: int  # for products, of a core
  tile: int  # a unit holds so many rows and columns of the second matrix

  @property
  def clock(self):
    """Cycles a second."""
    return self.flops / self.cores / self.cycle_flops


CHIPS = {
  "v5e": Chip("v5e:1x1", 197e12, 819e9, 16e9, 1, 131_072, 4, 128),
  "v5p": Chip("v5p:1x1x1", 459e12, 2765e9, 95e9, 2, 131_072, 4, 128),
  "v6e": Chip("v6e:1x1", 918e12, 1640e9, 32e9, 1, 524_288, 2, 256),
  "tpu7x": Chip("tpu7x:1x1x1", 2307e12, 7380e9, 192e9, 2, 524_288, 2, 256),
}


def devices(topology, **how):
  """The devices of a TPU topology to compile for, "v5e:8x8". ImportError where libtpu is absent."""
  import libtpu  # noqa: F401  the compiler itself

  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no metadata server to ask for the hosts
  # No chip is taken: another process may have one, or compile at the same time.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
  return topologies.get_topology_desc(platform="tpu", topology_name=topology, **how).devices


def one(chip):
  """A layout for arrays on one chip of CHIPS; its mesh tells a kernel what the chip is."""
  found = devices(CHIPS[chip].topology, chips_per_host_bounds=[1, 1, 1])
  return jax.NamedSharding(jax.sharding.Mesh(found[:1], ("chip",)), jax.P())


def on(layout, tree):
  """Shapes of a tree's arrays, on a device or a mesh that is not there."""
  lay = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)
  return jax.tree.map(lay, tree)
