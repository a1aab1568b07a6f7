"""Layers against torch and against themselves."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from cot_rm import sharding
from cot_rm.models import layers


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_linear_is_torchs_with_its_layout():
  linear = layers.Linear(("mlp", "embed"), 3, 5, rngs=nnx.Rngs(0), bias=True)
  linear.bias[...] = jnp.array([1.0, 2.0, 3.0])
  x = normal(2, 4, 5)
  wanted = torch.nn.functional.linear(
    torch.tensor(x),
    torch.tensor(np.asarray(linear.weight[...])),
    torch.tensor(np.asarray(linear.bias[...])),
  )
  np.testing.assert_allclose(linear(x), wanted, atol=1e-6)
  assert sharding.axes_of(linear.weight) == ("mlp", "embed")
  assert sharding.axes_of(linear.bias) == ("mlp",)


def test_rms_norm_is_torchs_and_keeps_the_dtype():
  norm = layers.RMSNorm(6, eps=1e-5)
  norm.weight[...] = normal(6, seed=1)
  x = 100 * normal(2, 3, 6)
  wanted = torch.nn.functional.rms_norm(
    torch.tensor(x), (6,), torch.tensor(np.asarray(norm.weight[...])), eps=1e-5
  )
  np.testing.assert_allclose(norm(x), wanted, rtol=1e-5)
  assert norm(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16


def test_swiglu_is_its_formula():
  mlp = layers.SwiGlu(4, 6, rngs=nnx.Rngs(0), layers=None, bias=True, out_scale=1.0)
  x = normal(1, 3, 4)
  f = lambda linear, x: x @ np.asarray(linear.weight[...]).T + np.asarray(linear.bias[...])
  gate = f(mlp.gate_proj, x)
  wanted = f(mlp.down_proj, gate / (1 + np.exp(-gate)) * f(mlp.up_proj, x))
  np.testing.assert_allclose(mlp(x), wanted, atol=1e-5)


@pytest.mark.parametrize(
  "theta, size", [(1e6, 128), (5e6, 128), (5e5, 128), (1e4, 16), (10.0, 16), (1e4, 40), (1e4, 36)]
)
def test_rotary_frequencies_are_torch_s_bit_for_bit(theta, size):
  """One element at a time, by the C library's pow: torch's vector code errs by an ulp in a few."""
  exponents = torch.arange(0, size, 2, dtype=torch.float) / size
  wanted = [(1.0 / theta ** exponent.reshape(1)).item() for exponent in exponents]
  found = layers.rotary_frequencies(theta, size)
  assert found.dtype == np.float32 and found.tolist() == wanted


def test_rotation_depends_on_distance_alone():
  q, k = normal(1, 1, 1, 8), normal(1, 1, 1, 8, seed=1)
  inverse = 1e4 ** -(np.arange(4) / 4)

  def turned(x, position):
    angle = np.concatenate([position * inverse] * 2)[None, None].astype(np.float32)
    return np.asarray(layers.rotate(x, np.cos(angle), np.sin(angle)))

  products = [float((turned(q, p) * turned(k, p + 3)).sum()) for p in (0, 5, 11)]
  np.testing.assert_allclose(products, products[0], atol=1e-4)
  assert abs(products[0] - float((turned(q, 0) * turned(k, 1)).sum())) > 1e-3
  np.testing.assert_array_equal(turned(q, 0), q)


@pytest.mark.parametrize("remat", [False, True])
def test_a_scan_equals_its_layers_one_by_one(remat):
  stack = layers.Linear(("embed", "embed"), 5, 5, rngs=nnx.Rngs(0), layers=3)
  x, extra = normal(2, 5), normal(3, 5, seed=1)

  def body(layer, x, extra):
    x = jnp.tanh(layer(x)) + extra[None]
    return x, x.sum()

  found, outs = layers.scan(stack, x, body, extra, remat=remat)
  wanted, sums = x, []
  for weight, e in zip(np.asarray(stack.weight[...]), extra, strict=True):
    wanted = np.tanh(wanted @ weight.T) + e
    sums.append(wanted.sum())
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  np.testing.assert_allclose(outs, sums, atol=1e-5)


def test_layers_one_by_one_have_the_slices_of_the_stack():
  stack = layers.Linear(("embed", "embed"), 5, 5, rngs=nnx.Rngs(0), layers=3)
  parts = layers.unstacked(stack)
  assert len(parts) == 3
  for part, weight in zip(parts, stack.weight[...], strict=True):
    np.testing.assert_array_equal(part.weight[...], weight)


def test_a_stack_carries_the_axis_of_its_layers():
  stack = layers.Linear(("mlp", "embed"), 3, 5, rngs=nnx.Rngs(0), layers=2)
  assert stack.weight.shape == (2, 3, 5)
  assert sharding.axes_of(stack.weight) == ("layers", "mlp", "embed")
  assert abs(float(stack.weight[...].std()) - 5**-0.5) < 0.15
