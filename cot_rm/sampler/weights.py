"""The weights that the sampler reads: the trainer's, in the sampler's own layout, kept smaller."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding

from cot_rm import sharding
from cot_rm.models import int8


def _bfloat16(params):
  return jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)


KEPT = {"": None, "bfloat16": _bfloat16, "int8": int8.quantized}


class Weights:
  """`params -> params` for the sampler. Nothing goes through the host."""

  def __init__(self, kept, mesh, rules):
    """
    Args:
      kept: of KEPT; "": as they are.
      mesh, rules: where the sampler's arrays live.
    """
    self.mesh, self.rules = mesh, rules
    self._smaller = jax.jit(KEPT[kept]) if kept else lambda params: params

  def __call__(self, params):
    """The same arrays where they are as wanted already."""
    params = self._smaller(params)  # where they are: less has to travel
    return jax.device_put(params, layout(params, self.mesh, self.rules))


def layout(params, mesh, rules):
  """A NamedSharding for every array; of a quantized weight for its integers and its scales."""

  def one(variable):
    axes = sharding.axes_of(variable)
    value = variable.get_raw_value()
    place = lambda *axes: NamedSharding(mesh, sharding.spec(axes, rules))
    if isinstance(value, jax.Array):
      return variable.replace(place(*axes))
    return variable.replace(
      dataclasses.replace(value, qvalue=place(*axes), scale=place(*axes[:-1], None))
    )

  return jax.tree.map(one, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
