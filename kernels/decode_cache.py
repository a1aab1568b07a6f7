"""The KV cache that decoding attention reads, in bfloat16 or float32, or in int8 with scales.

L layers, K kv heads, H head size; rows are prompts or samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

MIN_SCALE = 1e-30  # of a position whose numbers are all 0


class KeysValues(NamedTuple):
  """Keys and values of all layers in the KV cache's layout; rows are prompts or samples."""

  keys: jax.Array  # [L, rows, K, H, positions]
  values: jax.Array  # [L, rows, K, positions, H]
  key_scales: jax.Array | None = None  # f32[L, rows, K, positions], of int8 keys
  value_scales: jax.Array | None = None  # f32[L, rows, K, positions], of int8 values

  def of_layer(self, layer: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """(f32 keys [rows, K, H, positions], f32 values [rows, K, positions, H]) of one layer."""
    keys, values = (x[layer].astype(jnp.float32) for x in (self.keys, self.values))
    if self.key_scales is None or self.value_scales is None:
      return keys, values
    return keys * self.key_scales[layer][:, :, None], values * self.value_scales[layer][..., None]


class DecodeCache(NamedTuple):
  """The three parts of the KV cache that a new token attends to; each may be int8 or not."""

  prompts: KeysValues  # rows are Q prompts
  prompt_length_Q: jax.Array  # i32: number of filled positions, the first ones
  answers: KeysValues  # rows are B samples
  answer_length_B: jax.Array  # i32: number of filled positions, the first ones
  chunk: KeysValues  # rows are B samples
  chunk_position: jax.Array  # i32[]: the last filled position of the chunk


def quantized(keys: jax.Array, values: jax.Array) -> KeysValues:
  """Keys and values in int8: the largest magnitude of each position of a kv head becomes 127."""
  int_keys, key_scales = _int8(keys, -2)
  int_values, value_scales = _int8(values, -1)
  return KeysValues(int_keys, int_values, key_scales, value_scales)


def _int8(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
  """(i8 of x's shape, f32 scales without `axis`): x is about their product."""
  largest = jnp.abs(x).max(axis, keepdims=True).astype(jnp.float32)
  scale = jnp.maximum(largest / 127, MIN_SCALE)
  return jnp.round(x.astype(jnp.float32) / scale).astype(jnp.int8), scale.squeeze(axis)
