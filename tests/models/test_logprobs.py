"""Log-probabilities of a batch, and of tokens under the head by the kernels of a TPU."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.checkpoints import fingerprint
from cot_rm.kernels import fused_head
from cot_rm.kernels.token_logps import token_logps_ref
from cot_rm.models import logprobs, qwen2_5_vl
from tests.models.qwen2_5_vl import oracle

RULES = {"batch": ("data", "fsdp"), "embed": "fsdp", "vocab": "tensor"}


@pytest.fixture(scope="module")
def model():
  return qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0))


def test_the_log_probability_at_t_is_that_of_token_t(model):
  batch = fingerprint.probe(oracle.CONFIG)
  x = model.embed(batch.tokens, batch.visual, model.features(batch.pictures))
  hidden = np.asarray(model.prefill(x, batch.positions, batch.segments)[0])
  logits = hidden @ np.asarray(model.head).T
  wanted = np.asarray(jax.nn.log_softmax(logits, -1))
  found = np.asarray(logprobs.batch_logps(model, batch))
  assert found[0, 0] == 0
  for t in range(1, found.shape[1]):
    np.testing.assert_allclose(found[0, t], wanted[0, t - 1, batch.tokens[0, t]], atol=1e-5)


def test_a_group_shares_the_pictures_of_its_prompt(model):
  one = fingerprint.probe(oracle.CONFIG)
  other = dataclasses.replace(one.pictures, patches=one.pictures.patches[:, ::-1])
  stack = lambda *x: np.concatenate(x)
  twice = jax.tree.map(lambda x: stack(x, x), dataclasses.replace(one, pictures=None))
  pictures = jax.tree.map(stack, one.pictures, other)
  groups = dataclasses.replace(jax.tree.map(stack, twice, twice), pictures=pictures)
  run = logprobs.make_batch_logps(nnx.split(model)[0])
  found = run(nnx.state(model), groups)
  wanted = [
    logprobs.batch_logps(model, dataclasses.replace(one, pictures=pictures))[0]
    for pictures in (one.pictures, other)
  ]
  for row, expected in zip(found, (wanted[0], wanted[0], wanted[1], wanted[1]), strict=True):
    np.testing.assert_allclose(row, expected, atol=1e-5)
  assert np.abs(wanted[0] - wanted[1]).max() > 1e-3


@pytest.fixture
def tpu(monkeypatch):
  """Runs the kernels of a TPU, interpreted."""
  monkeypatch.setattr(sharding, "platform", lambda: "tpu")
  monkeypatch.setattr(fused_head, "_vmem_and_cores", lambda: (128 << 20, 1))
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
    ({"data": 1, "fsdp": 2, "tensor": 4}, 302),  # not a multiple of the four shards
    ({"data": 8, "fsdp": 1, "tensor": 1}, 300),
  ],
)
def test_token_logps_by_the_kernels_equal_the_definition_on_any_mesh(shape, V, masked, tpu):
  args = inputs(8, 40, 16, V)
  mask_BT = (args[3] > 0).astype(jnp.float32) if masked else None
  wanted = both(definition, *args, mask_BT)
  run = lambda *args: both(logprobs.token_logps, *args, mask_BT)
  if shape is None:
    found = jax.jit(run)(*args)
  else:
    with sharding.use(sharding.make_mesh(shape), RULES):
      found = jax.jit(run)(*args)
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-5)
