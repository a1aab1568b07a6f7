"""Writes to the KV cache."""

import jax
import jax.numpy as jnp
import numpy as np

from cot_rm.models import kv_cache


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_positions_are_written_one_by_one_and_in_chunks():
  B, K, H, C = 3, 2, 4, 2
  k, v = kv_cache.to_cache_layout(normal(B, C, K, H), normal(B, C, K, H, seed=1))
  chunk = kv_cache.empty_kv_cache(B, K, H, C, jnp.float32)
  for at in range(C):
    chunk = kv_cache.write_tokens(chunk, at, (k[..., at : at + 1], v[:, :, at : at + 1]))
  np.testing.assert_array_equal(chunk[0], k)
  np.testing.assert_array_equal(chunk[1], v)
  cache = normal(B, K, H, 6), normal(B, K, 6, H)
  keys, values = kv_cache.write_chunk(cache, np.array([0, 4, 2]), chunk)
  for b, at in enumerate((0, 4, 2)):
    np.testing.assert_array_equal(keys[b, :, :, at : at + C], k[b])
    np.testing.assert_array_equal(values[b, :, at : at + C], v[b])
    left = np.setdiff1d(np.arange(6), [at, at + 1])
    np.testing.assert_array_equal(keys[b][..., left], cache[0][b][..., left])
    np.testing.assert_array_equal(values[b][:, left], cache[1][b][:, left])
  for outside in (-C, 6):
    left = kv_cache.write_chunk(cache, np.full(B, outside), chunk)
    np.testing.assert_array_equal(left[0], cache[0])
  both = lambda tree: jax.tree.map(lambda x: np.stack([x, -x]), tree)
  stacked = kv_cache.write_chunk(both(cache), np.array([0, 4, 2]), both(chunk))
  jax.tree.map(np.testing.assert_array_equal, stacked, both((keys, values)))
