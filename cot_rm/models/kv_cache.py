"""The KV cache: layout, allocation and writes of keys and values while generating.

Keys are [B, K, H, T] and values [B, K, T, H], so that the products with queries and with attention
weights run along the last axis; a stack of layers has a leading axis L.

B rows (prompts or samples), T positions, C positions of a chunk, K kv heads, H head size.
"""

import jax
import jax.numpy as jnp

from cot_rm import sharding

KeysValues = tuple[jax.Array, jax.Array]  # in the cache's layout

KV_AXES = ("batch", "kv_heads", None, None)  # logical axes of keys and values in that layout


def to_cache_layout(k_BTKH: jax.Array, v_BTKH: jax.Array) -> KeysValues:
  """Keys [B, K, H, T] and values [B, K, T, H]."""
  return k_BTKH.transpose(0, 2, 3, 1), v_BTKH.swapaxes(1, 2)


def empty_kv_cache(
  rows: int,
  kv_heads: int,
  head_dim: int,
  length: int,
  dtype: jnp.dtype,
  *,
  layers: tuple[int, ...] = (),
) -> KeysValues:
  """Zeros for the keys and values of `length` positions in each row.

  layers: () for one layer, (L,) for a stack.
  """
  return (
    jnp.zeros((*layers, rows, kv_heads, head_dim, length), dtype),
    jnp.zeros((*layers, rows, kv_heads, length, head_dim), dtype),
  )


def write_tokens(
  cache: KeysValues, position: jax.Array | int, new: KeysValues, layer: jax.Array | None = None
) -> KeysValues:
  """The cache with new positions written from `position` on, the same in all rows.

  layer: index in a stack of layers; None: the cache is of one layer.
  """

  def write(cache: jax.Array, new: jax.Array, axis: int) -> jax.Array:
    start = [0] * cache.ndim
    start[axis] = position
    if layer is not None:
      start[0], new = layer, new[None]
    return jax.lax.dynamic_update_slice(cache, new, start)

  return write(cache[0], new[0], -1), write(cache[1], new[1], -2)


def write_chunk(cache: KeysValues, position_B: jax.Array, chunk: KeysValues) -> KeysValues:
  """The cache with a chunk of C positions written to each row b from position_B[b] on.

  position_B is a multiple of C. Rows with a position outside the cache are unchanged. Cache and
  chunk are of one layer or of a stack.
  """
  C, P = (keys.shape[-1] for keys, _ in (chunk, cache))
  position_B = jnp.asarray(position_B)

  def write_rows(cache: KeysValues, chunk: KeysValues, position_B: jax.Array) -> KeysValues:
    # Row by row: a scatter or a mask over all rows would pass over the whole cache.
    def write_row(b: jax.Array, cache: KeysValues) -> KeysValues:
      position = position_B[b]

      def write(cache: jax.Array, chunk: jax.Array, axis: int) -> jax.Array:
        start = [0] * cache.ndim
        start[-4], start[axis] = b, position
        new = jax.lax.dynamic_slice_in_dim(chunk, b, 1, -4)
        inside = (position >= 0) & (position < P)
        new = jnp.where(inside, new, jax.lax.dynamic_slice(cache, start, new.shape))
        return jax.lax.dynamic_update_slice(cache, new, start)

      return write(cache[0], chunk[0], -1), write(cache[1], chunk[1], -2)

    return jax.lax.fori_loop(0, len(position_B), write_row, cache)

  return sharding.shard_map_logical(
    write_rows, (cache, KV_AXES), (chunk, KV_AXES), (position_B, ("batch",))
  )
