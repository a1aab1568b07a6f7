"""Weights of the sampler: the trainer's, cast or quantized, then resharded to its layout."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from cot_rm import sharding
from cot_rm.models import quantization

WeightFormat = Literal["", "bfloat16", "int8"]  # "": as the trainer has them


def _to_bfloat16(params: nnx.State) -> nnx.State:
  return jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)


_CONVERT: dict[WeightFormat, Callable[[nnx.State], nnx.State]] = {
  "bfloat16": _to_bfloat16,
  "int8": quantization.quantized,
}
WEIGHT_FORMATS = get_args(WeightFormat)


class WeightSync:
  """Copies the trainer's parameters to the sampler: converted, then resharded.

  Nothing passes through the host if the sampler uses the trainer's devices.
  """

  def __init__(self, weights: WeightFormat, mesh: Mesh, rules: sharding.Rules) -> None:
    """
    Args:
      weights: format of the sampler's copy; "": unchanged.
      mesh, rules: placement of the sampler's arrays.
    """
    self.mesh, self.rules = mesh, rules
    self._convert = jax.jit(_CONVERT[weights]) if weights else None

  def __call__(self, params: nnx.State) -> nnx.State:
    """The sampler's parameters; arrays with the right format and sharding are not copied."""
    if self._convert:
      params = self._convert(params)  # before the transfer: less to send
    arrays, tree = jax.tree.flatten(params)
    targets = jax.tree.leaves(layout(params, self.mesh, self.rules))
    # For the same devices with another partitioning device_put would gather on the host.
    moved = [i for i, target in enumerate(targets) if _is_repartitioned(arrays[i], target)]
    reshard = _reshard(tuple(targets[i] for i in moved))
    for i, x in zip(moved, reshard([arrays[i] for i in moved]), strict=True):
      arrays[i] = x
    return tree.unflatten(jax.device_put(arrays, targets))


def _is_repartitioned(x: jax.Array, target: NamedSharding) -> bool:
  """Whether an array is on the devices of `target`, in that order, but partitioned otherwise."""
  if not isinstance(x.sharding, NamedSharding) or x.sharding.is_equivalent_to(target, x.ndim):
    return False
  return x.sharding.mesh.devices.ravel().tolist() == target.mesh.devices.ravel().tolist()


@functools.lru_cache
def _reshard(
  targets: tuple[NamedSharding, ...],
) -> Callable[[Sequence[jax.Array]], list[jax.Array]]:
  """Jitted program that reshards arrays to `targets` by collectives; cached by `targets`."""
  return jax.jit(lambda arrays: arrays, out_shardings=list(targets))


def layout(params: nnx.State, mesh: Mesh, rules: sharding.Rules) -> nnx.State:
  """A NamedSharding for every array; of a quantized weight for its integers and its scales."""

  def shardings(variable):
    axes = sharding.axes_of(variable)
    value = variable.get_raw_value()

    def sharded(x, *axes):
      return NamedSharding(mesh, sharding.even_spec(axes, x.shape, mesh, rules))

    if isinstance(value, jax.Array):
      return variable.replace(sharded(value, *axes))
    qvalue, scale = sharded(value.qvalue, *axes), sharded(value.scale, *axes[:-1], None)
    return variable.replace(dataclasses.replace(value, qvalue=qvalue, scale=scale))

  return jax.tree.map(shardings, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
