"""Layers against torch and against themselves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from cot_rm import sharding
from cot_rm.kernels import flash_attention
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


@dataclasses.dataclass(frozen=True)
class Sizes:
  B: int = 4
  T: int = 3
  S: int = 6
  N: int = 4
  K: int = 2
  H: int = 8
  Q: int = 2


def test_attention_is_torchs_with_shared_kv_heads():
  s = Sizes()
  q = normal(s.B, s.T, s.N, s.H)
  k, v = normal(s.B, s.S, s.K, s.H), normal(s.B, s.S, s.K, s.H, seed=2)
  mask = np.random.default_rng(3).random((s.B, s.T, s.S)) < 0.6
  mask[..., 0] = True
  to = lambda x: torch.tensor(x).transpose(1, 2)
  wanted = torch.nn.functional.scaled_dot_product_attention(
    to(q), to(k), to(v), attn_mask=torch.tensor(mask)[:, None], enable_gqa=True
  )
  found = layers.attention(q, k, v, mask)
  np.testing.assert_allclose(found, wanted.transpose(1, 2).reshape(s.B, s.T, -1), atol=1e-5)


def test_a_query_that_sees_nothing_is_finite_with_finite_gradients():
  q = k = v = normal(1, 2, 2, 4)
  mask = np.zeros((1, 2, 2), bool)
  value, grads = jax.value_and_grad(
    lambda *qkv: layers.attention(*qkv, mask).sum(), argnums=(0, 1, 2)
  )(q, k, v)
  assert np.isfinite(value)
  assert all(np.isfinite(g).all() for g in grads)


def test_shared_attention_equals_attention_over_all_parts():
  s = Sizes()
  G = s.B // s.Q
  q = normal(s.B, s.T, s.N, s.H)
  shared = normal(s.Q, s.K, s.H, s.S, seed=1), normal(s.Q, s.K, s.S, s.H, seed=2)
  mask_QS = np.arange(s.S) < np.array([[6], [4]])
  own = [
    (
      normal(s.B, s.K, s.H, size, seed=3),
      normal(s.B, s.K, size, s.H, seed=4),
      np.random.default_rng(size).random((s.B, s.T, size)) < 0.5,
    )
    for size in (5, 3)
  ]
  for count in (1, 2):
    parts = own[:count]
    found = layers.shared_attention(q, shared, mask_QS, *parts)
    keys = np.concatenate([shared[0].repeat(G, 0), *(part[0] for part in parts)], 3)
    values = np.concatenate([shared[1].repeat(G, 0), *(part[1] for part in parts)], 2)
    seen = np.broadcast_to(mask_QS.repeat(G, 0)[:, None], (s.B, s.T, s.S))
    mask = np.concatenate([seen, *(part[2] for part in parts)], 2)
    wanted = layers.attention(q, keys.transpose(0, 3, 1, 2), values.swapaxes(1, 2), mask)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_part_that_no_one_sees_may_as_well_not_be_there():
  s = Sizes()
  q = normal(s.B, 1, s.N, s.H)
  shared = normal(s.Q, s.K, s.H, s.S, seed=1), normal(s.Q, s.K, s.S, s.H, seed=2)
  part = lambda seed, seen: (
    normal(s.B, s.K, s.H, 16, seed=seed),
    normal(s.B, s.K, 16, s.H, seed=seed + 1),
    np.full((s.B, 1, 16), seen),
  )
  attend = jax.jit(lambda *own: layers.shared_attention(q, shared, np.ones((s.Q, s.S), bool), *own))
  wanted = attend(part(3, True), part(5, True))
  found = attend(part(3, True), part(7, False), part(9, False), part(5, True))
  np.testing.assert_array_equal(found, wanted)


def test_positions_are_put_one_by_one_and_in_chunks():
  B, K, H, C = 3, 2, 4, 2
  k, v = layers.kept(normal(B, C, K, H), normal(B, C, K, H, seed=1))
  chunk = layers.empty_kept(B, K, H, C, jnp.float32)
  for at in range(C):
    chunk = layers.put_kept(chunk, at, (k[..., at : at + 1], v[:, :, at : at + 1]))
  np.testing.assert_array_equal(chunk[0], k)
  np.testing.assert_array_equal(chunk[1], v)
  room = normal(B, K, H, 6), normal(B, K, 6, H)
  keys, values = layers.put_chunk(room, np.array([0, 4, 2]), chunk)
  for b, at in enumerate((0, 4, 2)):
    np.testing.assert_array_equal(keys[b, :, :, at : at + C], k[b])
    np.testing.assert_array_equal(values[b, :, at : at + C], v[b])
    left = np.setdiff1d(np.arange(6), [at, at + 1])
    np.testing.assert_array_equal(keys[b][..., left], room[0][b][..., left])
    np.testing.assert_array_equal(values[b][:, left], room[1][b][:, left])
  for outside in (-C, 6):
    left = layers.put_chunk(room, np.full(B, outside), chunk)
    np.testing.assert_array_equal(left[0], room[0])
  both = lambda tree: jax.tree.map(lambda x: np.stack([x, -x]), tree)
  stacked = layers.put_chunk(both(room), np.array([0, 4, 2]), both(chunk))
  jax.tree.map(np.testing.assert_array_equal, stacked, both((keys, values)))


def check_on_eight_tpus(run, given, monkeypatch):
  """Values and gradients are the same by kernels, rows over four devices and heads over two."""
  every = tuple(range(len(given)))
  values = lambda: jax.jit(jax.value_and_grad(run, every, has_aux=True))(*given)
  wanted = values()
  interpreted = functools.partial(flash_attention.flash_attention, interpret=True)
  monkeypatch.setattr(sharding, "platform", lambda: "tpu")
  monkeypatch.setattr(flash_attention, "flash_attention", interpreted)
  mesh = sharding.make_mesh({"data": 4, "tensor": 2})
  with sharding.use(mesh, {"batch": "data", "heads": "tensor", "kv_heads": "tensor"}):
    found = values()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 3e-5), wanted, found)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1)])
@pytest.mark.parametrize("causal", [True, False])
def test_a_tpus_attention_is_that_of_the_mask_on_each_devices_share(
  heads, kv_heads, causal, monkeypatch
):
  """Eight devices, rows over four of them, heads over two where they can be parted."""
  qkv = [
    jnp.asarray(normal(8, 40, n, 16, seed=i)) for i, n in enumerate((heads, kv_heads, kv_heads))
  ]
  segments = jnp.asarray(np.sort(np.random.default_rng(0).integers(0, 4, (8, 40)), axis=1))
  weights = normal(8, 40, heads * 16, seed=3)

  def run(*qkv):
    o = layers.segment_attention(*qkv, segments, causal=causal)
    return (o * weights).sum(), o

  check_on_eight_tpus(run, qkv, monkeypatch)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1)])
def test_a_tpus_rows_go_on_from_their_groups_prompt(heads, kv_heads, monkeypatch):
  """Four prompts of different lengths over four devices, two rows of each."""
  given = [normal(8, 20, n, 16, seed=i) for i, n in enumerate((heads, kv_heads, kv_heads))]
  given += [normal(4, kv_heads, 16, 30, seed=3), normal(4, kv_heads, 30, 16, seed=4)]
  given = [jnp.asarray(x) for x in given]
  mask_QS = jnp.arange(30)[None] < jnp.array([[30], [1], [17], [29]])
  weights = normal(8, 20, heads * 16, seed=5)

  def run(q, k, v, *shared):
    o = layers.extended_attention(q, k, v, shared, mask_QS)
    return (o * weights).sum(), o

  check_on_eight_tpus(run, given, monkeypatch)


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
