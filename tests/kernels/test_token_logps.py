"""Log-probabilities in chunks against their definition, and against torch."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cot_rm import sharding
from cot_rm.kernels import token_logps as kernel

B, T, D = 2, 3, 5


def inputs(V, dtype=np.float32, scale=1.0, seed=0):
  rng = np.random.default_rng(seed)
  x_BTD = jnp.asarray(scale * rng.standard_normal((B, T, D)), dtype)
  w_VD = jnp.asarray(rng.standard_normal((V, D)), dtype)
  tokens_BT = rng.integers(0, V, (B, T)).astype(np.int32)
  tokens_BT[0, 0], tokens_BT[1, -1] = 0, V - 1
  return x_BTD, w_VD, tokens_BT, jnp.asarray(rng.standard_normal((B, T)), jnp.float32)


def both(f, x_BTD, w_VD, tokens_BT, g_BT):
  """Values and gradients of a weighted sum."""
  loss = lambda x, w: (f(x, w, tokens_BT) * g_BT).sum()
  return f(x_BTD, w_VD, tokens_BT), jax.grad(loss, argnums=(0, 1))(x_BTD, w_VD)


def chunked(chunk):
  return lambda *args: kernel.token_logps(*args, chunk=chunk)


@pytest.mark.parametrize(
  "V,chunk", [(16, 16), (16, 8), (17, 8), (23, 8), (9, 8), (8, 100), (7, 1), (1, 4)]
)
def test_values_and_gradients_are_those_of_the_definition(V, chunk):
  args = inputs(V)
  found, (dx, dw) = both(chunked(chunk), *args)
  wanted, (dx_ref, dw_ref) = both(kernel.token_logps_ref, *args)
  np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
  np.testing.assert_allclose(dx, dx_ref, atol=1e-5, rtol=1e-5)
  np.testing.assert_allclose(dw, dw_ref, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.0])
def test_the_logits_are_divided_by_the_temperature_as_torch_would(temperature):
  x_BTD, w_VD, tokens_BT, g_BT = inputs(23)
  run = lambda *args: kernel.token_logps(*args, chunk=8, block=4, temperature=temperature)
  found, grads = both(run, x_BTD, w_VD, tokens_BT, g_BT)
  x, w = (torch.tensor(np.asarray(a), requires_grad=True) for a in (x_BTD, w_VD))
  logps = torch.log_softmax(x @ w.T / temperature, -1)
  theirs = logps.gather(-1, torch.tensor(tokens_BT, dtype=torch.int64)[..., None])[..., 0]
  (theirs * torch.tensor(np.asarray(g_BT))).sum().backward()
  np.testing.assert_allclose(found, theirs.detach().numpy(), atol=1e-5, rtol=1e-5)
  for ours, leaf in zip(grads, (x, w), strict=True):
    np.testing.assert_allclose(ours, leaf.grad.numpy(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 4, 5, 6, 99])
@pytest.mark.parametrize("wanted", [None, 0, 1, 4, 6])
def test_blocks_and_masks_do_not_change_the_result(block, wanted):
  args, mask_BT = inputs(23), None
  if wanted is not None:
    mask_BT = np.random.default_rng(wanted).permutation(np.arange(B * T) < wanted).reshape(B, T)
  full = np.ones((B, T), bool) if wanted is None else mask_BT
  mask_BT = None if wanted is None else mask_BT.astype(np.float32)
  run = lambda x, w, tokens: kernel.token_logps(x, w, tokens, mask_BT, chunk=8, block=block)
  found, grads = both(run, *args)
  wanted_BT, grads_ref = both(lambda *a: jnp.where(full, kernel.token_logps_ref(*a), 0), *args)
  np.testing.assert_allclose(found, wanted_BT, atol=1e-5, rtol=1e-5)
  for a, b in zip(grads, grads_ref, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 8])
def test_a_mask_has_the_same_effect_on_many_devices(parts):
  x_BTD, w_VD, tokens_BT, g_BT = (np.repeat(a, 4, 0) for a in inputs(23))
  w_VD, mask_BT = w_VD[:23], (g_BT > 0).astype(np.float32)
  mesh = sharding.make_mesh({"data": parts}, jax.devices()[:parts])
  rows = jax.NamedSharding(mesh, jax.P("data"))
  with jax.set_mesh(mesh):
    put = lambda x: jax.device_put(x, rows)
    run = lambda x, w, tokens: kernel.token_logps(x, w, tokens, put(mask_BT), chunk=8)
    found, grads = jax.jit(lambda *a: both(run, *a))(put(x_BTD), w_VD, put(tokens_BT), put(g_BT))
  ref = lambda *a: jnp.where(mask_BT > 0, kernel.token_logps_ref(*a), 0)
  wanted, grads_ref = both(ref, x_BTD, w_VD, tokens_BT, g_BT)
  for a, b in zip((found, *grads), (wanted, *grads_ref), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_the_definition_is_torchs():
  x, w, tokens, g = (torch.tensor(np.asarray(a)) for a in inputs(11))
  x.requires_grad_(), w.requires_grad_()
  logps = torch.log_softmax(x @ w.T, -1).gather(-1, tokens.long()[..., None])[..., 0]
  (logps * g).sum().backward()
  found, (dx, dw) = both(kernel.token_logps_ref, *inputs(11))
  np.testing.assert_allclose(found, logps.detach(), atol=1e-5)
  np.testing.assert_allclose(dx, x.grad, atol=1e-5)
  np.testing.assert_allclose(dw, w.grad, atol=1e-5)


def test_bfloat16_inputs_give_float32_values_and_bfloat16_gradients():
  args = inputs(23, jnp.bfloat16)
  found, (dx, dw) = both(chunked(8), *args)
  wanted, (dx_ref, dw_ref) = both(kernel.token_logps_ref, *args)
  assert (found.dtype, dx.dtype, dw.dtype) == (jnp.float32, jnp.bfloat16, jnp.bfloat16)
  np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
  for a, b in ((dx, dx_ref), (dw, dw_ref)):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    np.testing.assert_allclose(a, b, atol=0.02 * np.abs(b).max())


@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_extreme_logits_stay_finite_and_right(scale):
  args = inputs(23, scale=scale)
  found, grads = both(chunked(8), *args)
  wanted, grads_ref = both(kernel.token_logps_ref, *args)
  assert np.isfinite(found).all()
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)
  for a, b in zip(grads, grads_ref, strict=True):
    assert np.isfinite(a).all()
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale)


def test_log_probs_of_the_whole_vocabulary_sum_to_one():
  x_BTD, w_VD, _, _ = inputs(23)
  every = [
    kernel.token_logps(x_BTD, w_VD, np.full((B, T), v, np.int32), chunk=8) for v in range(23)
  ]
  np.testing.assert_allclose(np.exp(every).sum(0), 1, atol=1e-5)


def shapes(jaxpr):
  """Shapes of all values of a program, inner programs included."""
  for equation in jaxpr.eqns:
    yield from (tuple(v.aval.shape) for v in equation.outvars)
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: isinstance(x, jax.extend.core.Jaxpr)
    ):
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        yield from shapes(inner)


def test_no_array_of_every_token_and_every_word_exists():
  V, chunk = 64, 16
  args = inputs(V)
  size = lambda f: max(
    int(np.prod(shape))
    for shape in shapes(jax.make_jaxpr(lambda x, w: both(f, x, w, *args[2:]))(*args[:2]).jaxpr)
    if shape[-1:] != (D,)
  )  # hidden states and the head are there anyway
  assert size(kernel.token_logps_ref) == B * T * V
  assert size(chunked(chunk)) == B * T * chunk


def test_memory_does_not_grow_with_the_vocabulary_times_the_tokens():
  N, V = 512, 8192

  def temporary(f):
    loss = lambda x, w, tokens: f(x, w, tokens).sum()
    compiled = (
      jax.jit(jax.grad(loss, argnums=(0, 1)))
      .lower(
        jax.ShapeDtypeStruct((1, N, 8), jnp.float32),
        jax.ShapeDtypeStruct((V, 8), jnp.float32),
        jax.ShapeDtypeStruct((1, N), jnp.int32),
      )
      .compile()
    )
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary(chunked(256)) < 4 * N * V / 4
  assert temporary(kernel.token_logps_ref) >= 4 * N * V
