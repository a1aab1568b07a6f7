"""Eight-bit weights of the decoder."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm.models import quantization, qwen2_5_vl


def test_the_decoders_matrices_become_int8_with_a_scale_per_output():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  _, params = nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  small = quantization.quantized(params)
  up = small["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert up.qvalue.dtype == jnp.int8 and up.scale.shape == (*up.shape[:2], 1)
  exact = np.asarray(params["layers"]["mlp"]["up_proj"]["weight"].get_value())
  assert (np.abs(up.qvalue * up.scale - exact) <= np.asarray(up.scale) / 2 * 1.01).all()
  assert small["embed_tokens"]["weight"].get_value().dtype == jnp.float32
