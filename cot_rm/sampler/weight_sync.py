"""The weights that the sampler reads: the trainer's, in the sampler's own layout, kept smaller."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding

from cot_rm import sharding
from cot_rm.models import quantization


def _bfloat16(params):
  return jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)


KEPT = {"": None, "bfloat16": _bfloat16, "int8": quantization.quantized}


class Weights:
  """`params -> params` for the sampler.

  Nothing goes through the host where the trainer's devices are the sampler's too.
  """

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
    given, tree = jax.tree.flatten(params)
    places = jax.tree.leaves(layout(params, self.mesh, self.rules))
    # What is cut otherwise on the same devices device_put would gather on the host.
    cut = [i for i, place in enumerate(places) if _cut_otherwise(given[i], place)]
    for i, x in zip(
      cut, _recut(tuple(places[i] for i in cut))([given[i] for i in cut]), strict=True
    ):
      given[i] = x
    return tree.unflatten(jax.device_put(given, places))


def _cut_otherwise(x, place):
  """Whether an array lies on the devices of `place`, in their order, and is not cut as it says."""
  if not isinstance(x.sharding, NamedSharding) or x.sharding.is_equivalent_to(place, x.ndim):
    return False
  return x.sharding.mesh.devices.ravel().tolist() == place.mesh.devices.ravel().tolist()


@functools.lru_cache
def _recut(places):
  """`arrays -> the same arrays` as `places` have them, by collectives; a program for each model."""
  return jax.jit(lambda arrays: arrays, out_shardings=list(places))


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
