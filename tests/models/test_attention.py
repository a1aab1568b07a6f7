"""Attention against torch, part by part, and by the kernels of a TPU."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cot_rm import sharding
from cot_rm.kernels import flash_attention
from cot_rm.models import attention


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


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
  found = attention.attention(q, k, v, mask)
  np.testing.assert_allclose(found, wanted.transpose(1, 2).reshape(s.B, s.T, -1), atol=1e-5)


def test_a_query_that_sees_no_key_is_finite_with_finite_gradients():
  q = k = v = normal(1, 2, 2, 4)
  mask = np.zeros((1, 2, 2), bool)
  value, grads = jax.value_and_grad(
    lambda *qkv: attention.attention(*qkv, mask).sum(), argnums=(0, 1, 2)
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
    found = attention.shared_attention(q, shared, mask_QS, *parts)
    keys = np.concatenate([shared[0].repeat(G, 0), *(part[0] for part in parts)], 3)
    values = np.concatenate([shared[1].repeat(G, 0), *(part[1] for part in parts)], 2)
    seen = np.broadcast_to(mask_QS.repeat(G, 0)[:, None], (s.B, s.T, s.S))
    mask = np.concatenate([seen, *(part[2] for part in parts)], 2)
    wanted = attention.attention(q, keys.transpose(0, 3, 1, 2), values.swapaxes(1, 2), mask)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_samples_may_be_assigned_to_prompts_in_any_order():
  """Three prompts with three group indices each; two samples of the last, none of the first."""
  s = Sizes()
  q = normal(s.B, s.T, s.N, s.H)
  shared = normal(3, s.K, s.H, s.S, seed=1), normal(3, s.K, s.S, s.H, seed=2)
  mask_QS = np.arange(s.S) < np.array([[0], [6], [4]])
  own = (
    normal(s.B, s.K, s.H, 5, seed=3),
    normal(s.B, s.K, 5, s.H, seed=4),
    np.ones((s.B, s.T, 5), bool),
  )
  flat_index_B = np.array([8, 3, 6, 5])
  sample_P = np.full(9, s.B)
  sample_P[flat_index_B] = np.arange(s.B)
  assignment = attention.Assignment(sample_P.reshape(3, 3), flat_index_B)
  found = attention.shared_attention(q, shared, mask_QS, own, assignment=assignment)
  for b, prompt in enumerate([2, 1, 2, 1]):
    one = slice(b, b + 1)
    of = lambda x, prompt=prompt: x[prompt : prompt + 1]
    alone = [x[one] for x in own]
    wanted = attention.shared_attention(q[one], tuple(map(of, shared)), of(mask_QS), alone)
    np.testing.assert_allclose(found[b], wanted[0], atol=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("assigned", [True, False])
def test_decoding_by_the_kernels_equals_other_platforms_with_and_without_an_assignment(
  assigned, devices, monkeypatch
):
  """Samples of a prompt are neighbours; the assignment counts within a device's shard."""
  s = Sizes()
  q = normal(s.B, 1, s.N, s.H)
  some = lambda rows, size, seed: (
    normal(rows, s.K, s.H, size, seed=seed),
    normal(rows, s.K, size, s.H, seed=seed + 1),
  )
  prompts, answers, chunk = some(s.Q, s.S, 1), some(s.B, 5, 3), some(s.B, 3, 5)
  seen_QS, length_B = np.arange(s.S) < np.array([[6], [4]]), np.array([0, 5, 2, 1])
  local_B = np.arange(s.B) % (s.B // devices)
  assignment = attention.Assignment(local_B.reshape(s.Q, -1), local_B) if assigned else None
  context = attention.DecodeContext(prompts, seen_QS, [answers], length_B, assignment)
  given = jax.tree.map(jnp.asarray, (q, None, context, chunk, 1))
  mesh = sharding.make_mesh({"data": devices}, jax.devices()[:devices])
  with sharding.use(mesh, {"batch": "data"}):
    wanted = jax.jit(lambda: attention.decode_attention(*given))()
    monkeypatch.setattr(attention.sharding, "platform", lambda: "tpu")
    kernels = attention.decode_kernel
    monkeypatch.setattr(kernels, "decode_attention", kernels.decode_attention_ref)
    found = jax.jit(lambda: attention.decode_attention(*given))()
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_part_that_no_query_sees_changes_no_bit():
  s = Sizes()
  q = normal(s.B, 1, s.N, s.H)
  shared = normal(s.Q, s.K, s.H, s.S, seed=1), normal(s.Q, s.K, s.S, s.H, seed=2)
  part = lambda seed, seen: (
    normal(s.B, s.K, s.H, 16, seed=seed),
    normal(s.B, s.K, 16, s.H, seed=seed + 1),
    np.full((s.B, 1, 16), seen),
  )
  attend = jax.jit(
    lambda *own: attention.shared_attention(q, shared, np.ones((s.Q, s.S), bool), *own)
  )
  wanted = attend(part(3, True), part(5, True))
  found = attend(part(3, True), part(7, False), part(9, False), part(5, True))
  np.testing.assert_array_equal(found, wanted)


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
def test_segment_attention_by_the_kernel_equals_the_mask_on_each_shard(
  heads, kv_heads, causal, monkeypatch
):
  """Eight devices, rows over four of them, heads over two if they divide evenly."""
  qkv = [
    jnp.asarray(normal(8, 40, n, 16, seed=i)) for i, n in enumerate((heads, kv_heads, kv_heads))
  ]
  segments = jnp.asarray(np.sort(np.random.default_rng(0).integers(0, 4, (8, 40)), axis=1))
  weights = normal(8, 40, heads * 16, seed=3)

  def run(*qkv):
    o = attention.segment_attention(*qkv, segments, causal=causal)
    return (o * weights).sum(), o

  check_on_eight_tpus(run, qkv, monkeypatch)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1)])
def test_extended_attention_by_the_kernel_equals_shared_attention(heads, kv_heads, monkeypatch):
  """Four prompts of different lengths over four devices, two rows of each."""
  given = [normal(8, 20, n, 16, seed=i) for i, n in enumerate((heads, kv_heads, kv_heads))]
  given += [normal(4, kv_heads, 16, 30, seed=3), normal(4, kv_heads, 30, 16, seed=4)]
  given = [jnp.asarray(x) for x in given]
  mask_QS = jnp.arange(30)[None] < jnp.array([[30], [1], [17], [29]])
  weights = normal(8, 20, heads * 16, seed=5)

  def run(q, k, v, *shared):
    o = attention.extended_attention(q, k, v, shared, mask_QS)
    return (o * weights).sum(), o

  check_on_eight_tpus(run, given, monkeypatch)
