"""Blocks in which not every token is computed, and a temperature that costs nothing at 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.kernels import fused_head_kernels
from tests.kernels import test_fused_head as head


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """A chip of one core; tiles of 128 words, blocks of 128 tokens."""
  head.machine(monkeypatch)
  monkeypatch.setattr(head.fused_head, "TILES", (128,))
  monkeypatch.setattr(head.fused_head, "BLOCK", 128)


def test_large_logits_of_tokens_that_are_not_computed_change_nothing(monkeypatch):
  """They share a block with others, have no log-sum-exp, and exp(their logits) overflows."""
  x_ND, w_VD, tokens_N, g_N = head.inputs(130, 64, 300)
  count, wanted = jnp.int32(70), np.arange(130) < 70
  x_ND = jnp.where(wanted[:, None], x_ND, 1e3 * x_ND)
  _, lse_N = head.fused_head.logps(x_ND, w_VD, tokens_N, count, interpret=True)
  found = head.fused_head.gradients(
    x_ND, w_VD, tokens_N, lse_N, g_N * wanted, count, interpret=True
  )
  loss = lambda x, w: (
    head.token_logps_ref(x[None, :70], w, tokens_N[None, :70])[0] * g_N[:70]
  ).sum()
  for ours, right in zip(found, jax.grad(loss, (0, 1))(x_ND, w_VD), strict=True):
    np.testing.assert_allclose(ours, right, atol=1e-4)


def test_at_a_temperature_of_1_nothing_is_multiplied():
  w, x = jnp.ones((128, 64)), jnp.ones((128, 64))
  program = lambda t: str(jax.make_jaxpr(lambda w, x: fused_head_kernels._logits(w, x, t))(w, x))
  assert " mul " not in program(1.0) and " mul " in program(0.5)
