"""Layers that model families share: projections, norms, rotary positions, stacks of layers.

B batch, T positions, N heads, H head size, D width, F mlp width, L layers.

A stack of layers is one module whose weights have a leading axis "layers"; `scan` runs it.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import qwix
from flax import nnx

from cot_rm.sharding import constrain

Axes = tuple[str | None, ...]  # logical axes, see cot_rm/sharding.py
Tree = TypeVar("Tree")  # a pytree


def param(
  rngs: nnx.Rngs, shape: tuple[int, ...], axes: Axes, layers: int | None, scale: float
) -> nnx.Param:
  """A normal weight of standard deviation `scale`, stacked `layers` times (None: one layer)."""
  if layers is not None:
    shape, axes = (layers, *shape), ("layers", *axes)
  return nnx.Param(scale * jax.random.normal(rngs.params(), shape), axes=axes)


def constant(shape: tuple[int, ...], axes: Axes, layers: int | None, value: float) -> nnx.Param:
  """A parameter initialized to one value, stacked `layers` times (None: one layer)."""
  if layers is not None:
    shape, axes = (layers, *shape), ("layers", *axes)
  return nnx.Param(jnp.full(shape, value, jnp.float32), axes=axes)


class Linear(nnx.Module):
  """y = x @ weight.T + bias. The weight has the checkpoint's layout, [out, in]."""

  def __init__(
    self,
    axes: Axes,
    d_out: int,
    d_in: int,
    *,
    rngs: nnx.Rngs,
    layers: int | None = None,
    bias: bool = False,
    scale: float = 1.0,
  ):
    """Initializes a normal weight of standard deviation scale * d_in ** -0.5.

    Args:
      axes: logical axes of the weight [out, in].
      d_out: output width.
      d_in: input width.
      rngs: random keys of the initial weight.
      layers: number of stacked layers; None: one layer.
      bias: whether there is a bias, initially 0.
      scale: see above.
    """
    self.weight = param(rngs, (d_out, d_in), axes, layers, scale * d_in**-0.5)
    self.bias = constant((d_out,), axes[:1], layers, 0.0) if bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., in] to [..., out]."""
    y = _product(x, self.weight.get_value())
    return y if self.bias is None else y + _like(self.bias, y)

  def in_parts(self, x: jax.Array, parts: int, axes: Axes) -> jax.Array:
    """The output split into equal parts, [..., parts, out / parts].

    For several projections stored in one weight, such as q, k and v. If `out` is sharded over
    devices, each part is sharded: the weight is split before the product, as that moves fewer bytes
    between devices than splitting the product.

    Args:
      x: [..., in].
      parts: number of projections.
      axes: logical axes of a part's weight.
    """
    weight = self.weight.get_value()
    if isinstance(weight, qwix.QArray):
      return self(x).reshape(*x.shape[:-1], parts, -1)
    weight = constrain(weight.astype(x.dtype).reshape(parts, -1, x.shape[-1]), None, *axes)
    y = jnp.einsum("...i,poi->...po", x, weight)
    return (
      y if self.bias is None else y + _like(self.bias, x).reshape(*[1] * (x.ndim - 1), parts, -1)
    )


def _product(x: jax.Array, weight: jax.Array | qwix.QArray) -> jax.Array:
  """x @ weight.T. A quantized weight's integers are cast to x's dtype; the product is scaled."""
  if not isinstance(weight, qwix.QArray):
    return jnp.einsum("...i,oi->...o", x, weight.astype(x.dtype))
  y = jnp.einsum("...i,oi->...o", x, weight.qvalue.astype(x.dtype))
  return y * weight.scale.reshape((1,) * (x.ndim - 1) + (-1,)).astype(x.dtype)


class RMSNorm(nnx.Module):
  """x / rms(x) * weight, with the mean square in float32 (arXiv:1910.07467)."""

  def __init__(self, width: int, *, eps: float, layers: int | None = None):
    self.weight = constant((width,), ("embed",), layers, 1.0)
    self.eps = eps

  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] to [..., D], in x's dtype."""
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.square(x32).mean(-1, keepdims=True) + self.eps)
    return _like(self.weight, x) * normed.astype(x.dtype)


class SwiGlu(nnx.Module):
  """down(silu(gate(x)) * up(x)) (arXiv:2002.05202)."""

  def __init__(
    self,
    width: int,
    mlp: int,
    *,
    rngs: nnx.Rngs,
    layers: int | None,
    bias: bool,
    out_scale: float,
  ):
    """Initializes the three projections; out_scale is the `scale` of the last one."""
    up = dict(rngs=rngs, layers=layers, bias=bias)
    self.gate_proj = Linear(("mlp", "embed"), mlp, width, **up)
    self.up_proj = Linear(("mlp", "embed"), mlp, width, **up)
    self.down_proj = Linear(("embed", "mlp"), width, mlp, scale=out_scale, **up)

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    """[B, T, D] to [B, T, D]."""
    h_BTF = jax.nn.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
    return self.down_proj(constrain(h_BTF, "batch", "length", "mlp"))


def _like(variable: nnx.Param, x: jax.Array) -> jax.Array:
  """A vector parameter in x's dtype, with leading axes to broadcast against x by rank."""
  w = variable[...].astype(x.dtype)
  return w.reshape((1,) * (x.ndim - 1) + w.shape)


def rotary_frequencies(theta: float, size: int) -> np.ndarray:
  """1 / theta ** (2 i / size) for i < size / 2, f32[size / 2]: angles per position.

  Exponent, power and reciprocal are each rounded to float32, as transformers does: the angle of a
  token thousands of positions on is off by as much as it. theta ** -x rounds otherwise.
  """
  exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
  powers = np.power(theta, exponents, dtype=np.float64).astype(np.float32)
  return np.float32(1) / powers


def rotate(x_BTNH: jax.Array, cos_BTH: jax.Array, sin_BTH: jax.Array) -> jax.Array:
  """Rotary position embedding, [B, T, N, H], with pairs (h, h + H / 2) (arXiv:2104.09864)."""
  low, high = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([-high, low], axis=-1)
  x = x_BTNH.astype(jnp.float32) * cos_BTH[:, :, None] + turned * sin_BTH[:, :, None]
  return x.astype(x_BTNH.dtype)


def last_token(x_BTD: jax.Array, segments_BT: jax.Array) -> jax.Array:
  """x at each row's last position that is not padding, [B, D].

  Padding has segment 0 and follows the tokens (rows are padded on the right).
  """
  last_B = jnp.maximum((segments_BT > 0).sum(-1) - 1, 0)
  return jnp.take_along_axis(x_BTD, last_B[:, None, None], axis=1)[:, 0]


def scan(
  stack: nnx.Module,
  x: jax.Array,
  body: Callable[[nnx.Module, jax.Array, Tree], tuple[jax.Array, Tree]],
  per_layer: Tree = None,
  *,
  remat: bool = False,
) -> tuple[jax.Array, Tree]:
  """Runs `x, output = body(layer, x, slice of per_layer)` over a stack of layers.

  Args:
    stack: a module with stacked weights.
    x: input of the first layer.
    body: the function of one layer.
    per_layer: a tree of arrays with a leading axis of layers.
    remat: a layer's activations are recomputed in the backward pass instead of stored.

  Returns:
    (x after the last layer, the outputs stacked).
  """
  graphdef, state = nnx.split(stack)

  def step(x, slices_of_layer):
    layer_state, extra = slices_of_layer
    return body(nnx.merge(graphdef, layer_state), x, extra)

  return jax.lax.scan(jax.checkpoint(step) if remat else step, x, (state, per_layer))


def scan_in_place(
  blocks: nnx.Module | Sequence[nnx.Module],
  x: jax.Array,
  written: Tree,
  read: Tree,
  body: Callable[..., tuple[jax.Array, Tree]],
) -> tuple[jax.Array, Tree]:
  """Runs `x, written = body(layer, x, written, read, index)` over layers, for decoding.

  With a stack of layers, the arrays of `written` and `read` have a leading axis of layers. body
  gets the whole arrays and the layer's index, takes a layer by `layer_slice`, and updates `written`
  in place; one program serves all layers. With a list of layers (see `unstacked`), `written` and
  `read` are lists too: body gets the layer's entries, and index is None.

  Args:
    blocks: a stack of layers, or a list.
    x: input of the first layer.
    written: caches that the layers update.
    read: caches that the layers only read.
    body: the function of one layer.

  Returns:
    (x after the last layer, written).
  """
  if isinstance(blocks, list):
    updated = []
    for block, *entries in zip(blocks, written, read, strict=True):
      x, new = body(block, x, *entries, None)
      updated.append(new)
    return x, updated

  graphdef, state = nnx.split(blocks)

  def step(i, carry):
    x, written = carry
    return body(nnx.merge(graphdef, layer_slice(state, i)), x, written, read, i)

  return jax.lax.fori_loop(0, len(jax.tree.leaves(state)[0]), step, (x, written))


def layer_slice(tree: Tree, i: jax.Array | int | None) -> Tree:
  """Slice i of each array along its axis of layers; i None: the tree is of one layer, unchanged."""
  if i is None:
    return tree
  return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False), tree)


def unstacked(stack: nnx.Module) -> list[nnx.Module]:
  """The layers of a stacked module, as a list of slices. Call it outside the loop over tokens."""
  graphdef, state = nnx.split(stack)
  count = len(jax.tree.leaves(state)[0])
  return [nnx.merge(graphdef, jax.tree.map(lambda x, i=i: x[i], state)) for i in range(count)]
