"""The kernels of decoding attention against their definition, interpreted; and by the compiler."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from bench.tpu import chips
from cot_rm.kernels import decode_attention as decode
from cot_rm.kernels import decode_cache

WITHIN = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}
L = 2


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(decode, "BLOCK", 128)


def inputs(*sizes, dtype=jnp.float32, cached=decode_cache.KeysValues, seed=0):
  """Arguments of the kernel; the first answer is empty, the last prompt has the full length.

  Q + 1 prompts of which one has no samples; each other has G samples at G + 1 group indices.
  cached: makes the prompts' and the answers' part of keys and values.
  """
  Q, G, N, K, H, S, P, C = sizes
  rng = np.random.default_rng(seed)
  some = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
  part = lambda make, rows, T: make(some(L, rows, K, H, T), some(L, rows, K, T, H))
  length_Q = jnp.asarray(rng.integers(1, S + 1, Q + 1), jnp.int32).at[-1].set(S).at[0].set(0)
  answer_length_B = jnp.asarray(rng.integers(0, P + 1, Q * G), jnp.int32).at[0].set(0)
  places = [q * (G + 1) + g for q in range(1, Q + 1) for g in rng.permutation(G + 1)[:G]]
  flat_index_B = rng.permutation(places).astype(np.int32)
  sample_P = np.full((Q + 1) * (G + 1), Q * G, np.int32)
  sample_P[flat_index_B] = np.arange(Q * G)
  return (
    some(Q * G, N, H),
    jnp.int32(1),
    decode_cache.DecodeCache(
      part(cached, Q + 1, S),
      length_Q,
      part(cached, Q * G, P),
      answer_length_B,
      part(decode_cache.KeysValues, Q * G, C),
      jnp.int32(rng.integers(0, C)),
    ),
    jnp.asarray(sample_P.reshape(Q + 1, G + 1)),
    jnp.asarray(flat_index_B),
  )


def check(*shape, dtype=jnp.float32, cached=decode_cache.KeysValues, interpret=True):
  given = inputs(*shape, dtype=dtype, cached=cached)
  found = decode.decode_attention(*given, interpret=interpret)
  wanted = decode.decode_attention_ref(*given)
  assert found.dtype == wanted.dtype == dtype
  found, wanted = np.asarray(found, np.float32), np.asarray(wanted, np.float32)
  np.testing.assert_allclose(found, wanted, atol=WITHIN[dtype] * max(np.abs(wanted).max(), 1))


def test_the_definition_is_softmax_by_hand():
  column = lambda *x: jnp.array(x, jnp.float32).reshape(1, 1, 1, 1, -1)  # keys of a head of 1
  row = lambda *x: column(*x).swapaxes(-1, -2)
  part = lambda keys, values: decode_cache.KeysValues(column(*keys), row(*values))
  prompts, answers, chunk = part([1, 9], [10, 0]), part([0.5, 9], [20, 0]), part([0, 9], [30, 0])
  one = jnp.array([1])
  o = decode.decode_attention_ref(
    jnp.full((1, 1, 1), 2.0),
    0,
    decode_cache.DecodeCache(prompts, one, answers, one, chunk, jnp.int32(0)),
    jnp.array([[0]]),
    jnp.array([0]),
  )
  share = np.exp([2, 1, 0])
  np.testing.assert_allclose(o[0, 0, 0], share @ [10, 20, 30] / share.sum(), rtol=1e-6)


@hypothesis.settings(max_examples=10, deadline=None, derandomize=True)
@hypothesis.given(
  groups=st.sampled_from([(1, 1), (2, 3), (3, 2)]),
  heads=st.sampled_from([(14, 2), (16, 2), (3, 1), (18, 2)]),
  size=st.sampled_from([16, 64, 128]),
  lengths=st.sampled_from([(256, 384), (200, 100), (128, 50), (30, 256)]),
  chunk=st.sampled_from([1, 16]),
)
def test_any_shape_is_the_definition(groups, heads, size, lengths, chunk):
  check(*groups, *heads, size, *lengths, chunk)


def test_bfloat16_is_near_the_definition():
  check(2, 3, 14, 2, 128, 256, 256, 16, dtype=jnp.bfloat16)


@pytest.mark.parametrize("dtype", list(WITHIN))
def test_keys_and_values_may_be_int8(dtype):
  check(2, 3, 14, 2, 64, 256, 256, 16, dtype=dtype, cached=decode_cache.quantized)


def test_the_kernels_have_no_races():
  races = pltpu.InterpretParams(detect_races=True, out_of_bounds_reads="raise")
  check(2, 3, 14, 2, 64, 256, 256, 16, interpret=races)


@pytest.mark.parametrize("chip", list(chips.CHIPS))
@pytest.mark.parametrize("cached", [decode_cache.KeysValues, decode_cache.quantized])
@pytest.mark.parametrize(
  "heads",
  [
    pytest.param((16, 2), marks=pytest.mark.slow),
    (28, 4),
    pytest.param((64, 8), marks=pytest.mark.slow),
  ],
)
def test_the_kernels_compile_for_a_chip(chip, cached, heads, monkeypatch):
  """The decoders of the 3b, 7b and 72b presets."""
  pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
  monkeypatch.setattr(decode, "BLOCK", 512)
  given = jax.eval_shape(
    lambda: inputs(8, 8, *heads, 128, 1024, 512, 64, dtype=jnp.bfloat16, cached=cached)
  )
  layout = chips.one(chip)
  with jax.set_mesh(layout.mesh):
    compiled = jax.jit(decode.decode_attention).lower(*chips.on(layout, given)).compile()
  assert 'custom_call_target="tpu_custom_call"' in compiled.as_text()
