"""Mesh, logical axes, and the rules that map one onto the other.

Parameters carry logical axis names (`nnx.Param(w_DF, axes=("embed", "mlp"))`). A rule table, chosen
in the config, maps each name to mesh axes. One model has two: train_rules and sample_rules.
"""

import contextlib
import contextvars
import functools
import math

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

_scope = contextvars.ContextVar("sharding_scope", default=None)


def make_mesh(shape, devices=None):
  """A mesh from {axis: size}; one size may be -1 and takes the devices that are left."""
  devices = jax.devices() if devices is None else devices
  sizes = dict(shape)
  known = math.prod(size for size in sizes.values() if size != -1)
  for axis, size in sizes.items():
    if size == -1:
      sizes[axis] = len(devices) // known
  if math.prod(sizes.values()) != len(devices):
    raise ValueError(
      f"mesh {sizes} has {math.prod(sizes.values())} places for {len(devices)} "
      f"devices; change config.mesh.shape"
    )
  return jax.make_mesh(
    tuple(sizes.values()),
    tuple(sizes),
    devices=devices,
    axis_types=(jax.sharding.AxisType.Auto,) * len(sizes),
  )


def spec(axes, rules):
  """PartitionSpec of logical axes under a rule table; an axis without a rule is replicated."""
  return P(*(rules.get(axis) for axis in axes))


def axes_of(variable):
  """Logical axes of an nnx variable; () where none were given."""
  return variable.get_metadata().get("axes", ())


def of(tree, mesh, rules):
  """The tree with a NamedSharding for every array; what has no logical axes is replicated."""

  def one(x):
    if isinstance(x, nnx.Variable):
      return x.replace(NamedSharding(mesh, spec(axes_of(x), rules)))
    return NamedSharding(mesh, P())

  return jax.tree.map(one, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


@contextlib.contextmanager
def use(mesh, rules):
  """The one ambient context: inside it, `constrain` means something."""
  token = _scope.set((mesh, rules))
  try:
    with jax.set_mesh(mesh):
      yield
  finally:
    _scope.reset(token)


def constrain(x, *axes):
  """Pins activation `x` to its logical axes; a no-op outside `use`."""
  if (scope := _scope.get()) is None:
    return x
  mesh, rules = scope
  return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(axes, rules)))


def shares(mesh, rules):
  """Into how many shares the axis "batch" is parted."""
  return math.prod(mesh.shape[name] for name in _names(rules, "batch"))


def _names(rules, axis):
  """The mesh's axes that a logical axis is shared over, a tuple."""
  rule = rules.get(axis) or ()
  return (rule,) if isinstance(rule, str) else tuple(rule)


def put(batch, mesh, rules):
  """Host arrays, each this process's share, to global ones, the first dimension over "batch"."""
  layout = NamedSharding(mesh, spec(("batch",), rules))
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(layout, np.asarray(x)), batch
  )


def unit():
  """What the rows that a process brings to a batch of all processes must be a multiple of.

  Raises ValueError where the ambient rules do not spread "batch" over all processes alike.
  """
  if jax.process_count() == 1:
    return 1
  count, rest = divmod(shares(*_scope.get()), jax.process_count())
  if rest or not count:
    raise ValueError(
      f'the axis "batch" has {shares(*_scope.get())} shares for {jax.process_count()} processes; '
      f"change config.mesh.shape or this mesh's rules"
    )
  return count


def own_shares():
  """Into how many shares the rows of a process are parted, where they can be."""
  scope = _scope.get()
  return shares(*scope) // jax.process_count() if scope else 1


def join(tree):
  """Host arrays, this process's rows, as arguments of a program of all processes; inside `use`."""
  return tree if jax.process_count() == 1 else put(tree, *_scope.get())


def part(tree):
  """The way back from `join` for what came of it, laid out over "batch": host arrays."""
  return jax.device_get(tree) if jax.process_count() == 1 else jax.tree.map(local, tree)


def lay(x, *axes):
  """Inside a program: an array with its last dimensions on these logical axes, as `constrain` does.

  An axis over which its dimension cannot be shared equally is left out.
  """
  axes = (None,) * (x.ndim - len(axes)) + axes
  return constrain(x, *(a if shared(a, n) else None for a, n in zip(axes, x.shape, strict=True)))


def rows(tree):
  """Inside a program: arrays with their first dimension over "batch", see `lay`."""
  return jax.tree.map(lambda x: lay(x, "batch", *[None] * (x.ndim - 1)), tree)


def by_shares(f, *given):
  """f(*trees) where each device does its share alone, as the ambient rules have it.

  For what the compiler cannot part: kernels, and loops over rows.

  Args:
    f: shares hang on nothing but themselves; it returns what its first argument is.
    given: (tree of arrays, logical axes of their last dimensions), one an argument. Where a
      dimension cannot be shared equally, no other is shared over the same axes of the mesh.
  """
  trees = [tree for tree, _ in given]
  if (scope := _scope.get()) is None or scope[0].size == 1:
    return f(*trees)
  mesh, rules = scope
  names = functools.partial(_names, rules)
  uneven = {
    name
    for tree, axes in given
    for x in jax.tree.leaves(tree)
    for length, axis in zip(x.shape[x.ndim - len(axes) :], axes, strict=True)
    if length % math.prod(mesh.shape[name] for name in names(axis))
    for name in names(axis)
  }
  even = {axis: names(axis) for axis in rules if not uneven.intersection(names(axis))}
  place = lambda x, axes: spec((None,) * (x.ndim - len(axes)) + axes, even)
  specs = tuple(jax.tree.map(lambda x, axes=axes: place(x, axes), tree) for tree, axes in given)
  return jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=specs[0], check_vma=False)(*trees)


def shared(axis, length):
  """The mesh's axes over which a dimension of this length is shared; () where not equally."""
  if (scope := _scope.get()) is None:
    return ()
  mesh, rules = scope
  names = _names(rules, axis)
  return () if length % math.prod(mesh.shape[name] for name in names) else names


def mapped(f, in_specs, out_specs):
  """f under shard_map over the ambient mesh; f itself where there is none."""
  if (scope := _scope.get()) is None:
    return f
  return jax.shard_map(f, mesh=scope[0], in_specs=in_specs, out_specs=out_specs, check_vma=False)


def platform():
  """ "cpu", "gpu" or "tpu": of the ambient mesh, which need not be there, or of what is there."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()


def everyone(x):
  """A host array of every process, one behind the other, on every process; itself where one is."""
  if jax.process_count() == 1:
    return np.asarray(x)
  return np.asarray(multihost_utils.process_allgather(np.asarray(x), tiled=True))


def own(x):
  """This process's share of what `everyone` made."""
  return np.split(x, jax.process_count())[jax.process_index()]


def local(x):
  """This process's rows of a global array that `put` laid out, as a host array."""
  rows = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
  return np.concatenate([np.asarray(rows[start]) for start in sorted(rows)])
