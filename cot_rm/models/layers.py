"""The layers that model families share: projections, norms, rotary positions.

B batch, T positions, N heads, H head size, D width, F mlp width, L layers.

A stack of layers is one module whose weights have a leading axis "layers"; `scan` runs it.
"""

import jax
import jax.numpy as jnp
import qwix
from flax import nnx

from cot_rm.sharding import constrain


def param(rngs, shape, axes, layers, scale):
  """A normal weight of standard deviation `scale`, stacked `layers` times."""
  if layers is not None:
    shape, axes = (layers, *shape), ("layers", *axes)
  return nnx.Param(scale * jax.random.normal(rngs.params(), shape), axes=axes)


def constant(shape, axes, layers, value):
  """A parameter that starts at one value, stacked `layers` times."""
  if layers is not None:
    shape, axes = (layers, *shape), ("layers", *axes)
  return nnx.Param(jnp.full(shape, value, jnp.float32), axes=axes)


class Linear(nnx.Module):
  """y = x @ weight.T + bias. The weight lies as in a checkpoint: [out, in]."""

  def __init__(self, axes, d_out, d_in, *, rngs, layers=None, bias=False, scale=1.0):
    self.weight = param(rngs, (d_out, d_in), axes, layers, scale * d_in**-0.5)
    self.bias = constant((d_out,), axes[:1], layers, 0.0) if bias else None

  def __call__(self, x):
    y = _product(x, self.weight.get_value())
    return y if self.bias is None else y + _like(self.bias, y)

  def in_parts(self, x, parts, axes):
    """[..., parts, out / parts] of several layers in one, as of q, k and v.

    axes: logical axes of a part's weight. Where `out` is shared over devices each part is: the
    weight is cut before the product, as it is less to send than what comes of it.
    """
    weight = self.weight.get_value()
    if isinstance(weight, qwix.QArray):
      return self(x).reshape(*x.shape[:-1], parts, -1)
    weight = constrain(weight.astype(x.dtype).reshape(parts, -1, x.shape[-1]), None, *axes)
    y = jnp.einsum("...i,poi->...po", x, weight)
    return (
      y if self.bias is None else y + _like(self.bias, x).reshape(*[1] * (x.ndim - 1), parts, -1)
    )


def _product(x, weight):
  """x @ weight.T. Of eight bits are the integers read, and scaled behind the product."""
  if not isinstance(weight, qwix.QArray):
    return jnp.einsum("...i,oi->...o", x, weight.astype(x.dtype))
  y = jnp.einsum("...i,oi->...o", x, weight.qvalue.astype(x.dtype))
  return y * weight.scale.reshape((1,) * (x.ndim - 1) + (-1,)).astype(x.dtype)


class RMSNorm(nnx.Module):
  """x / rms(x) * weight, the mean square in float32 (arXiv:1910.07467)."""

  def __init__(self, width, *, eps, layers=None):
    self.weight = constant((width,), ("embed",), layers, 1.0)
    self.eps = eps

  def __call__(self, x):
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.square(x32).mean(-1, keepdims=True) + self.eps)
    return _like(self.weight, x) * normed.astype(x.dtype)


class SwiGlu(nnx.Module):
  """down(silu(gate(x)) * up(x)) (arXiv:2002.05202)."""

  def __init__(self, width, mlp, *, rngs, layers, bias, out_scale):
    up = dict(rngs=rngs, layers=layers, bias=bias)
    self.gate_proj = Linear(("mlp", "embed"), mlp, width, **up)
    self.up_proj = Linear(("mlp", "embed"), mlp, width, **up)
    self.down_proj = Linear(("embed", "mlp"), width, mlp, scale=out_scale, **up)

  def __call__(self, x_BTD):
    h_BTF = jax.nn.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
    return self.down_proj(constrain(h_BTF, "batch", "length", "mlp"))


def _like(variable, x):
  """A vector parameter as an array that broadcasts against x by rank."""
  w = variable[...].astype(x.dtype)
  return w.reshape((1,) * (x.ndim - 1) + w.shape)


def rotate(x_BTNH, cos_BTH, sin_BTH):
  """Rotary positions, the half-split form: pairs are (h, h + H / 2) (arXiv:2104.09864)."""
  low, high = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([-high, low], axis=-1)
  x = x_BTNH.astype(jnp.float32) * cos_BTH[:, :, None] + turned * sin_BTH[:, :, None]
  return x.astype(x_BTNH.dtype)


def at_end(x_BTD, segments_BT):
  """[B, D]: what stands at each row's last position that is not padding; rows begin at 0."""
  last_B = jnp.maximum((segments_BT > 0).sum(-1) - 1, 0)
  return jnp.take_along_axis(x_BTD, last_B[:, None, None], axis=1)[:, 0]


def scan(stack, x, body, per_layer=None, *, remat=False):
  """Runs `x, out = body(layer, x, slice of per_layer)` over a stacked module's layers.

  Returns the last x and the outs, stacked. With remat a layer's activations are computed again in
  the backward pass instead of kept.
  """
  graphdef, state = nnx.split(stack)

  def step(x, slices):
    layer_state, extra = slices
    return body(nnx.merge(graphdef, layer_state), x, extra)

  return jax.lax.scan(jax.checkpoint(step) if remat else step, x, (state, per_layer))


def each(blocks, x, room, held, body):
  """Runs `x, room = body(layer, x, room, held, i)` over layers, to generate with.

  Where blocks are a stack, arrays have a leading axis of layers, of which `of_layer` takes one:
  what is held is read where it lies and the room is written in place, by one program for all
  layers. Where they are a list, as `unstacked` makes it, room and held are lists too, body gets the
  layer's entries, and i is None.

  Returns the last x and the room.
  """
  if isinstance(blocks, list):
    rooms = []
    for block, *its in zip(blocks, room, held, strict=True):
      x, new = body(block, x, *its, None)
      rooms.append(new)
    return x, rooms

  graphdef, state = nnx.split(blocks)

  def step(i, carry):
    x, room = carry
    return body(nnx.merge(graphdef, of_layer(state, i)), x, room, held, i)

  return jax.lax.fori_loop(0, len(jax.tree.leaves(state)[0]), step, (x, room))


def of_layer(tree, i):
  """Slice i of a tree of stacks; where i is None it is one layer's already."""
  one = lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False)
  return tree if i is None else jax.tree.map(one, tree)


def unstacked(stack):
  """The layers of a stacked module one by one: slices, to be made outside of a loop over tokens."""
  graphdef, state = nnx.split(stack)
  count = len(jax.tree.leaves(state)[0])
  part = lambda i: nnx.merge(graphdef, jax.tree.map(lambda x: x[i], state))
  return [part(i) for i in range(count)]
