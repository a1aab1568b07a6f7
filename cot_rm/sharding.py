"""Mesh, logical axes, and the rules that map logical axes to mesh axes.

Parameters carry logical axis names (`nnx.Param(w_DF, axes=("embed", "mlp"))`). A rule table, chosen
in the config, maps each name to mesh axes. One model has two: train_rules and sample_rules.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import jax
from absl import logging
from flax import nnx
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cot_rm import registry

Rules = Mapping[str, str | Sequence[str] | None]  # logical axis -> mesh axes
Tree = TypeVar("Tree")  # a pytree, returned with the same structure

_scope: contextvars.ContextVar[tuple[Mesh, Rules] | None] = contextvars.ContextVar(
  "sharding_scope", default=None
)


def make_mesh(shape: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh from {axis: size}; one size may be -1: it takes the devices that are left.

  Args:
    shape: size of each mesh axis.
    devices: all of this backend by default.

  Raises ValueError if the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = dict(shape)
  for axis, size in sizes.items():
    if size < 1 and size != -1:
      raise ValueError(
        f"the mesh's axis {axis!r} has size {size} (config.mesh.shape.{axis}); it must be 1 or "
        f"more, or -1 for all devices that are left"
      )
  known = math.prod(size for size in sizes.values() if size != -1)
  for axis, size in sizes.items():
    if size == -1:
      sizes[axis] = len(devices) // known
  if math.prod(sizes.values()) != len(devices):
    raise ValueError(
      f"mesh {sizes} needs {math.prod(sizes.values())} devices, but there are {len(devices)}; "
      f"change its shape (config.mesh.shape)"
    )
  shape, axis_types = tuple(sizes.values()), (jax.sharding.AxisType.Auto,) * len(sizes)
  try:
    return jax.make_mesh(shape, tuple(sizes), devices=devices, axis_types=axis_types)
  except NotImplementedError:
    # No product of the torus's axes has these sizes (16 x 4 of 8 x 8 chips): an axis is split.
    split = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(split, tuple(sizes), axis_types=axis_types)


def check_rules(mesh: Mesh, rules: Rules, where: str) -> None:
  """Raises ValueError where rules name an axis that the mesh lacks, or one axis twice in a matrix.

  Args:
    mesh: the mesh.
    rules: of its arrays. One dimension of a matrix is "embed", the other any of the rest.
    where: names the rules in errors, such as "config.mesh.train_rules".
  """
  for axis in rules:
    for name in _mesh_axes(rules, axis):
      if name not in mesh.shape:
        hint = registry.hint(name, mesh.shape)
        raise ValueError(f"{where}.{axis} names the mesh axis {name!r}; {hint}")
  for axis in rules:
    both = {*_mesh_axes(rules, "embed")} & {*_mesh_axes(rules, axis)}
    if axis not in ("embed", "batch") and both:
      raise ValueError(
        f"{where}: embed and {axis} are both sharded over {', '.join(sorted(both))}, and a matrix "
        "has both dimensions: give one of them another axis, or None"
      )


def spec(axes: Sequence[str | None], rules: Rules) -> P:
  """PartitionSpec of logical axes under a rule table; an axis without a rule is replicated."""
  return P(*(rules.get(axis) for axis in axes))


def even_spec(axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh, rules: Rules) -> P:
  """`spec` of an array of this shape; a dimension that cannot be sharded evenly is left whole."""
  shards = (_num_shards(mesh, rules, axis) for axis in axes)
  return P(
    *(
      None if length % count else rules.get(axis)
      for axis, length, count in zip(axes, shape, shards, strict=False)
    )
  )


def parameter_sharding(variable: nnx.Variable, mesh: Mesh, rules: Rules) -> NamedSharding:
  """Sharding of a parameter by its logical axes, see `even_spec`; dimensions left whole are logged.

  A dimension is logged once.
  """
  axes = axes_of(variable)
  for axis, length in zip(axes, variable.shape, strict=False):
    if length % (count := _num_shards(mesh, rules, axis)):
      _log_whole(axis, length, count)
  return NamedSharding(mesh, even_spec(axes, variable.shape, mesh, rules))


def _num_shards(mesh: Mesh, rules: Rules, axis: str | None) -> int:
  """Number of shards of a logical axis."""
  return math.prod(mesh.shape[name] for name in _mesh_axes(rules, axis))


@functools.lru_cache
def _log_whole(axis: str, length: int, shards: int) -> None:
  """Cached, so that it is logged once."""
  logging.info(
    "sharding: a dimension %r of %d is no multiple of %d: arrays with it are whole on each device "
    "of these mesh axes (config.mesh)",
    axis,
    length,
    shards,
  )


def axes_of(variable: nnx.Variable) -> tuple[str | None, ...]:
  """Logical axes of an nnx variable; () if it has none."""
  return variable.get_metadata().get("axes", ())


def shardings_of(tree: Tree, mesh: Mesh, rules: Rules) -> Tree:
  """The tree with a NamedSharding for every array; arrays without logical axes are replicated.

  A variable without an array stays: an optimizer has such ones for what it does not train.
  """

  def sharding_of(x: nnx.Variable | jax.Array) -> nnx.Variable | NamedSharding:
    if isinstance(x, nnx.Variable):
      if not jax.tree.leaves(x):
        return x
      return x.replace(parameter_sharding(x, mesh, rules))
    return NamedSharding(mesh, P())

  return jax.tree.map(sharding_of, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


@contextlib.contextmanager
def use(mesh: Mesh, rules: Rules) -> Iterator[None]:
  """Makes mesh and rules the ambient ones, which `constrain` and `shard_map_*` follow."""
  token = _scope.set((mesh, rules))
  try:
    with jax.set_mesh(mesh):
      yield
  finally:
    _scope.reset(token)


def ambient() -> tuple[Mesh, Rules] | None:
  """Mesh and rules of the innermost `use`; None outside."""
  return _scope.get()


def num_batch_shards(mesh: Mesh, rules: Rules) -> int:
  """Number of shards of the logical axis "batch"."""
  return _num_shards(mesh, rules, "batch")


def _mesh_axes(rules: Rules, axis: str | None) -> tuple[str, ...]:
  """Mesh axes over which a logical axis is sharded."""
  rule = rules.get(axis) or ()
  return (rule,) if isinstance(rule, str) else tuple(rule)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
  """Pins activation `x` to its logical axes; a no-op outside `use`. See `even_spec`."""
  if (scope := _scope.get()) is None:
    return x
  mesh, rules = scope
  layout = NamedSharding(mesh, even_spec(axes, x.shape, mesh, rules))
  return jax.lax.with_sharding_constraint(x, layout)


def constrain_if_even(x: jax.Array, *axes: str | None) -> jax.Array:
  """Pins the last dimensions of `x` to logical axes; uneven dimensions are left replicated.

  A dimension is uneven if its length is not a multiple of its number of shards.
  """
  return constrain(x, *(None,) * (x.ndim - len(axes)), *axes)


def constrain_rows(tree: Tree) -> Tree:
  """Pins the first dimension of every array to "batch", as `constrain_if_even` does."""
  return jax.tree.map(lambda x: constrain_if_even(x, "batch", *[None] * (x.ndim - 1)), tree)


def even_mesh_axes(axis: str | None, length: int) -> tuple[str, ...]:
  """Mesh axes over which a dimension of this length is sharded; () if it cannot be evenly."""
  if (scope := _scope.get()) is None:
    return ()
  mesh, rules = scope
  names = _mesh_axes(rules, axis)
  return () if length % math.prod(mesh.shape[name] for name in names) else names


def shard_map_logical(
  f: Callable[..., Tree], *trees_and_axes: tuple[object, tuple[str | None, ...]]
) -> Tree:
  """f(*trees) under shard_map by logical axes and the ambient rules; plain f(*trees) outside `use`.

  For programs that the compiler cannot partition: kernels, and loops over rows.

  Args:
    f: acts on each shard independently; its result has the shapes of its first argument.
    trees_and_axes: (tree of arrays, logical axes of their last dimensions) per argument of f. If
      any dimension is uneven over a mesh axis, no dimension is sharded over that mesh axis.
  """
  trees = [tree for tree, _ in trees_and_axes]
  if (scope := _scope.get()) is None or scope[0].size == 1:
    return f(*trees)
  mesh, rules = scope
  uneven = {
    name
    for tree, axes in trees_and_axes
    for x in jax.tree.leaves(tree)
    for length, axis in zip(x.shape[x.ndim - len(axes) :], axes, strict=True)
    if length % math.prod(mesh.shape[name] for name in _mesh_axes(rules, axis))
    for name in _mesh_axes(rules, axis)
  }
  even_rules = {
    axis: _mesh_axes(rules, axis)
    for axis in rules
    if not uneven.intersection(_mesh_axes(rules, axis))
  }

  def specs_of(tree: Tree, axes: tuple[str | None, ...]) -> Tree:
    return jax.tree.map(lambda x: spec((None,) * (x.ndim - len(axes)) + axes, even_rules), tree)

  specs = tuple(specs_of(tree, axes) for tree, axes in trees_and_axes)
  return jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=specs[0], check_vma=False)(*trees)


def shard_map_here(f: Callable[..., Tree], in_specs: object, out_specs: object) -> Callable:
  """f under shard_map over the ambient mesh; f itself outside `use`."""
  if (scope := _scope.get()) is None:
    return f
  return jax.shard_map(f, mesh=scope[0], in_specs=in_specs, out_specs=out_specs, check_vma=False)


def is_cast_on_cpu(dtype: jax.typing.DTypeLike, device: jax.Device) -> bool:
  """Whether matrix products of this dtype are computed in float32, as a CPU does with 16 bits.

  Programs that read all layers then need KEEP_CASTS, and layers that stay stacked.
  """
  return device.platform == "cpu" and jax.numpy.dtype(dtype).itemsize == 2


# Compiler options. Otherwise the compiler casts the weights of all layers to float32 before a loop
# over layers or tokens, and a model needs three times the memory of its weights.
KEEP_CASTS = {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}


def platform() -> str:
  """ "cpu", "gpu" or "tpu": of the ambient mesh, real or only compiled for; else JAX's default."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()
