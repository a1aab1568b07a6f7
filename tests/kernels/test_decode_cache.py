"""Keys and values in int8."""

import jax.numpy as jnp
import numpy as np

from cot_rm.kernels import decode_cache


def test_int8_is_off_by_half_a_step_at_most():
  keys, values = (
    jnp.asarray(np.random.default_rng(i).standard_normal((1, 2, 3, 8, 8)), jnp.float32)
    for i in (0, 1)
  )
  found_keys, found_values = decode_cache.quantized(keys, values).of_layer(0)
  key_step = jnp.abs(keys[0]).max(-2, keepdims=True) / 127
  value_step = jnp.abs(values[0]).max(-1, keepdims=True) / 127
  assert (jnp.abs(found_keys - keys[0]) <= 0.501 * key_step).all()
  assert (jnp.abs(found_values - values[0]) <= 0.501 * value_step).all()


def test_a_position_of_zeros_stays_zero():
  zeros = jnp.zeros((1, 1, 1, 4, 4))
  found = decode_cache.quantized(zeros, zeros)
  assert found.keys.dtype == found.values.dtype == jnp.int8
  assert all((x == 0).all() for x in found.of_layer(0))
