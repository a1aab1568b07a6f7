"""The kernels of a linear head against their definition, interpreted; and by the TPU compiler."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from bench.tpu import chips
from cot_rm.kernels import fused_head
from cot_rm.kernels.token_logps import token_logps_ref

WITHIN = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}
VMEM = 128 << 20
NARROW = 1_200_000  # bytes: 384 tokens of 64 numbers beside the tiles


@pytest.fixture(autouse=True)
def small(monkeypatch):
  monkeypatch.setattr(fused_head, "TILES", (128,))
  monkeypatch.setattr(fused_head, "BLOCK", 128)


def machine(monkeypatch, vmem=VMEM, cores=1):
  monkeypatch.setattr(fused_head, "_vmem_and_cores", lambda: (vmem, cores))


def inputs(N, D, V, dtype=jnp.float32, seed=0):
  rng = np.random.default_rng(seed)
  some = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
  tokens_N = rng.integers(0, V, N).astype(np.int32)
  tokens_N[0], tokens_N[-1] = V - 1, 0
  return some(N, D), some(V, D), tokens_N, jnp.asarray(rng.standard_normal(N), jnp.float32)


def check(N, D, V, count=None, dtype=jnp.float32, interpret=True, temperature=1.0):
  x_ND, w_VD, tokens_N, g_N = inputs(N, D, V, dtype)
  count = N if count is None else count
  wanted = np.arange(N) < count
  g_N = jnp.where(wanted, g_N, 0)
  how = dict(interpret=interpret, temperature=temperature)
  logps_N, lse_N = fused_head.logps(x_ND, w_VD, tokens_N, jnp.int32(count), **how)
  dx, dw = fused_head.gradients(x_ND, w_VD, tokens_N, lse_N, g_N, jnp.int32(count), **how)
  ref = lambda x, w: token_logps_ref(x[None], w, tokens_N[None], temperature=temperature)[0]
  dx_ref, dw_ref = jax.grad(lambda x, w: (ref(x, w) * g_N).sum(), (0, 1))(x_ND, w_VD)
  assert (dx.dtype, dw.dtype) == (jnp.float32, dtype)
  for found, right in (
    (logps_N, jnp.where(wanted, ref(x_ND, w_VD), 0)),
    (dx, dx_ref),
    (dw, dw_ref),
  ):
    found, right = (np.asarray(a, np.float32) for a in (found, right))
    np.testing.assert_allclose(found, right, atol=WITHIN[dtype] * max(np.abs(right).max(), 1))


@hypothesis.settings(
  max_examples=10, deadline=None, derandomize=True,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(
  N=st.integers(1, 300),
  D=st.sampled_from([8, 64, 100]),
  V=st.integers(1, 600),
  share=st.sampled_from([0.0, 0.3, 1.0]),
  cores=st.sampled_from([1, 2]),
)
def test_any_shape_is_the_definition(monkeypatch, N, D, V, share, cores):
  machine(monkeypatch, cores=cores)
  check(N, D, V, int(N * share))


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("count", [0, 300, 700])
def test_tokens_that_do_not_fit_go_in_parts(cores, count, monkeypatch):
  machine(monkeypatch, NARROW, cores)
  assert fused_head.plan(700, 64, jnp.float32) == (128, 2, 384)
  check(700, 64, 520, count)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.parametrize("vmem", [VMEM, NARROW])
def test_the_logits_are_divided_by_the_temperature(temperature, vmem, monkeypatch):
  machine(monkeypatch, vmem)
  check(500, 64, 300, 420, temperature=temperature)


def test_bfloat16_is_near_the_definition(monkeypatch):
  machine(monkeypatch, cores=2)
  check(200, 64, 300, 130, jnp.bfloat16)


def test_large_logits_stay_finite_and_right(monkeypatch):
  machine(monkeypatch)
  x_ND, w_VD, tokens_N, g_N = inputs(130, 64, 300)
  logps_N, lse_N = fused_head.logps(1e3 * x_ND, w_VD, tokens_N, jnp.int32(130), interpret=True)
  wanted = token_logps_ref(1e3 * x_ND[None], w_VD, tokens_N[None])[0]
  np.testing.assert_allclose(logps_N, wanted, rtol=1e-5, atol=1e-2)
  found = fused_head.gradients(
    1e3 * x_ND, w_VD, tokens_N, lse_N, g_N, jnp.int32(130), interpret=True
  )
  assert all(np.isfinite(x).all() for x in found)


def test_a_width_that_does_not_fit_is_refused(monkeypatch):
  machine(monkeypatch, NARROW)
  with pytest.raises(ValueError, match="width 4096 does not fit 1,200,000 bytes of VMEM"):
    fused_head.plan(1, 4096, jnp.float32)


def test_the_kernels_have_no_races(monkeypatch):
  machine(monkeypatch, cores=2)
  races = pltpu.InterpretParams(detect_races=True, out_of_bounds_reads="uninitialized")
  check(130, 64, 300, interpret=races)  # the last tile reads behind the last word


@pytest.mark.parametrize("chip", list(chips.CHIPS))
@pytest.mark.parametrize(
  ("D", "V"),
  [
    pytest.param(2048, 151_936, marks=pytest.mark.slow),
    (3584, 152_064),
    pytest.param(8192, 152_064, marks=pytest.mark.slow),
  ],
)
def test_the_kernels_compile_for_a_chip(chip, D, V, monkeypatch):
  """The heads of the 3b, 7b and 72b presets."""
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  monkeypatch.setattr(fused_head, "TILES", (512, 256, 128))
  monkeypatch.setattr(fused_head, "BLOCK", 512)
  N = 4096
  shape = jax.ShapeDtypeStruct
  given = (
    shape((N, D), jnp.bfloat16),
    shape((V, D), jnp.bfloat16),
    shape((N,), jnp.int32),
    shape((N,), jnp.float32),
  )

  def both(x_ND, w_VD, tokens_N, g_N):
    logps_N, lse_N = fused_head.logps(x_ND, w_VD, tokens_N, jnp.int32(N))
    return logps_N, fused_head.gradients(x_ND, w_VD, tokens_N, lse_N, g_N, jnp.int32(N))

  layout = chips.one(chip)
  with jax.set_mesh(layout.mesh):
    _, parts, _ = fused_head.plan(N, D, jnp.bfloat16)
    compiled = jax.jit(both).lower(*chips.on(layout, given)).compile()
  assert compiled.as_text().count('custom_call_target="tpu_custom_call"') == 2
  # No logits; with several parts of tokens, the sum of the head's gradients in float32.
  most = 10 * 4 * N * D + (4 * V * D if parts > 1 else 0)
  assert compiled.memory_analysis().temp_size_in_bytes < most
