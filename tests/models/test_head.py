"""Log-probabilities under the head, on a TPU's path, over the devices of a mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm import sharding
from cot_rm.kernels import fused_head
from cot_rm.kernels.token_logps import token_logps_ref
from cot_rm.models import head

RULES = {"batch": ("data", "fsdp"), "embed": "fsdp", "vocab": "tensor"}


@pytest.fixture
def tpu(monkeypatch):
  """The kernels, interpreted, where a TPU would have them."""
  monkeypatch.setattr(sharding, "platform", lambda: "tpu")
  monkeypatch.setattr(fused_head, "_machine", lambda: (128 << 20, 1))
  monkeypatch.setattr(fused_head, "TILES", (128,))
  monkeypatch.setattr(fused_head, "BLOCK", 128)
  for name in ("logps", "gradients"):
    interpreted = functools.partial(getattr(fused_head, name), interpret=True)
    monkeypatch.setattr(fused_head, name, interpreted)


def inputs(B, T, D, V):
  rng = np.random.default_rng(0)
  some = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
  tokens_BT = jnp.asarray(rng.integers(0, V, (B, T)), jnp.int32)
  return some(B, T, D), some(V, D), tokens_BT, some(B, T)


def both(f, x_BTD, w_VD, tokens_BT, g_BT, mask_BT):
  def run(x, w):
    logps_BT = f(x, w, tokens_BT, mask_BT)
    return (logps_BT * g_BT).sum(), logps_BT

  (_, logps_BT), grads = jax.value_and_grad(run, (0, 1), has_aux=True)(x_BTD, w_VD)
  return logps_BT, *grads


def definition(x_BTD, w_VD, tokens_BT, mask_BT):
  logps_BT = token_logps_ref(x_BTD, w_VD, tokens_BT)
  return logps_BT if mask_BT is None else jnp.where(mask_BT > 0, logps_BT, 0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
  ("shape", "V"),
  [
    (None, 300),
    ({"data": 2, "fsdp": 2, "tensor": 2}, 300),
    ({"data": 1, "fsdp": 4, "tensor": 2}, 300),
    ({"data": 1, "fsdp": 2, "tensor": 4}, 302),  # words that four do not share equally
    ({"data": 8, "fsdp": 1, "tensor": 1}, 300),
  ],
)
def test_it_is_the_definition_on_any_mesh(shape, V, masked, tpu):
  args = inputs(8, 40, 16, V)
  mask_BT = (args[3] > 0).astype(jnp.float32) if masked else None
  wanted = both(definition, *args, mask_BT)
  run = lambda *args: both(head.token_logps, *args, mask_BT)
  if shape is None:
    found = jax.jit(run)(*args)
  else:
    with sharding.use(sharding.make_mesh(shape), RULES):
      found = jax.jit(run)(*args)
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-5)
