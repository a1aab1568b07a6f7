"""Attention by the interpreted kernels against its definition."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import block_mask
from cot_rm.kernels import flash_attention as flash

WITHIN = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(block_mask, "BLOCK", 128)


def arrays(B, T, S, N, K, H, *, dtype=jnp.float32, seed=0):
  """(q, k, v), and the weights of the loss on (o, lse)."""
  rng = np.random.default_rng(seed)
  some = lambda *shape, dtype=dtype: jnp.asarray(rng.standard_normal(shape), dtype)
  weights = some(B, T, N, H, dtype=jnp.float32), some(B, T, N, dtype=jnp.float32)
  return (some(B, T, N, H), some(B, S, K, H), some(B, S, K, H)), weights


def all_of(f, qkv, weights, *segments, **how):
  """Outputs and gradients; -inf counts as 0."""

  def weighted(*qkv):
    o, lse = f(*qkv, *segments, **how)
    seen = jnp.where(jnp.isneginf(lse), 0.0, lse)
    return (o.astype(jnp.float32) * weights[0]).sum() + (seen * weights[1]).sum(), (o, lse)

  (_, out), grads = jax.jit(jax.value_and_grad(weighted, (0, 1, 2), has_aux=True))(*qkv)
  return dict(zip(("o", "lse", "dq", "dk", "dv"), (*out, *grads), strict=True))


def check(shape, *segments, dtype=jnp.float32, interpret=True, **how):
  qkv, weights = arrays(*shape, dtype=dtype)
  kernel = functools.partial(flash.flash_attention, interpret=interpret)
  found = all_of(kernel, qkv, weights, *segments, **how)
  wanted = all_of(flash.flash_attention_ref, qkv, weights, *segments, **how)
  np.testing.assert_array_equal(jnp.isneginf(found["lse"]), jnp.isneginf(wanted["lse"]))
  for name, x in wanted.items():
    x, y = (np.nan_to_num(np.asarray(a, np.float32), neginf=0) for a in (x, found[name]))
    np.testing.assert_allclose(y, x, atol=WITHIN[dtype] * max(np.abs(x).max(), 1), err_msg=name)


def packed(B, T, count, seed=0):
  """Segments as packing makes them: 1, 2, ..., then padding with 0."""
  rng = np.random.default_rng(seed)
  ids = np.sort(rng.integers(1, count + 1, (B, T)), axis=1)
  ids[:, T - T // 7 :] = 0
  return jnp.asarray(ids, jnp.int32)


def test_the_definition_is_softmax_by_hand():
  q = jnp.array([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two queries of one head
  k, v = q, jnp.array([[[[1.0, 10.0]], [[3.0, 30.0]]]])
  o, lse = flash.flash_attention_ref(q, k, v)
  np.testing.assert_allclose(o[0, 0, 0], [1, 10], rtol=1e-6)  # it sees the first key alone
  scores = np.array([0.0, 4.0]) / 2**0.5
  share = np.exp(scores) / np.exp(scores).sum()
  np.testing.assert_allclose(o[0, 1, 0], share @ [[1, 10], [3, 30]], rtol=1e-6)
  np.testing.assert_allclose(lse[0, :, 0], [2**-0.5, np.log(np.exp(scores).sum())], rtol=1e-6)


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(
  rows=st.integers(1, 2),
  length=st.integers(1, 300),
  heads=st.sampled_from([(1, 1), (4, 2), (3, 1)]),
  size=st.sampled_from([64, 80, 96, 128]),
  count=st.integers(0, 5),
  causal=st.booleans(),
)
def test_any_shape_is_the_definition(rows, length, heads, size, count, causal):
  segments = (packed(rows, length, count),) * 2 if count else ()
  check((rows, length, length, *heads, size), *segments, causal=causal)


@pytest.mark.parametrize("causal", [True, False])
def test_bfloat16_is_near_the_definition(causal):
  segments = packed(1, 260, 2)
  check((1, 260, 260, 4, 2, 80), segments, segments, dtype=jnp.bfloat16, causal=causal)


def test_a_query_that_sees_no_key_has_output_zero_and_no_gradient():
  ours, theirs = jnp.full((1, 140), 1).at[0, 5:9].set(7), jnp.full((1, 200), 1)
  check((1, 140, 200, 2, 1, 64), ours, theirs, causal=False)
  qkv, _ = arrays(1, 140, 200, 2, 1, 64)
  o, lse = flash.flash_attention(*qkv, ours, theirs, causal=False, interpret=True)
  assert not o[0, 5:9].any() and jnp.isneginf(lse[0, 5:9]).all()


def test_queries_may_begin_after_the_first_key():
  check((1, 130, 330, 2, 1, 64), causal=True, offset=200)


def test_windows_skip_the_blocks_that_they_do_not_see():
  """Windows of 64 patches, numbered in any order."""
  windows = jnp.repeat(jnp.array([[5, 6, 4, 2, 3, 9]]), 64, axis=1)
  check((1, 384, 384, 2, 2, 80), windows, windows, causal=False)
  blocks = windows.reshape(1, 3, 128)
  segments = block_mask.BlockSegments(blocks.min(-1), blocks.max(-1), 128)
  mask = block_mask.block_mask(segments, segments, False, 0)
  assert not mask.full.any()  # blocks have windows 5 to 6, 2 to 4 and 3 to 9
  assert mask.needed[0].tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 1]]


def test_rows_that_do_not_fit_vmem_go_in_parts(monkeypatch):
  monkeypatch.setattr(block_mask, "MAX_VMEM_LENGTH", 256)
  segments = packed(1, 600, 3)
  check((1, 600, 600, 4, 2, 64), segments, segments, causal=True)
  check((1, 300, 520, 2, 1, 64), causal=False)


def test_the_kernels_have_no_races():
  races = pltpu.InterpretParams(detect_races=True, out_of_bounds_reads="raise")
  segments = packed(1, 256, 2)
  check((1, 256, 256, 2, 1, 64), segments, segments, causal=True, interpret=races)
