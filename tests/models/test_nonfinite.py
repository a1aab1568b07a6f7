"""The first weight or layer whose numbers are not finite is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cot_rm.checkpoints import fingerprint
from cot_rm.models import nonfinite, qwen2_5_vl
from tests.models.qwen2_5_vl import oracle


def described(change, dtype=jnp.float32):
  model = qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0), dtype=dtype)
  change(model)
  graphdef, params = nnx.split(model)
  params = jax.tree.map(lambda x: x.astype(dtype), params)
  return nonfinite.describe(graphdef, params, fingerprint.probe(oracle.CONFIG))


def scaled(variable, factor, layer=None):
  value = variable[...]
  rows = slice(None) if layer is None else layer
  variable[...] = value.at[rows].multiply(factor)


def test_a_weight_is_named_with_its_layer():
  def change(model):
    scaled(model.layers.mlp.up_proj.weight, np.nan, layer=1)

  assert described(change) == "weights that are not finite: layers.mlp.up_proj.weight, layer 1"


@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_layer_that_overflows_float16_is_named(layer):
  def change(model):
    scaled(model.layers.mlp.down_proj.weight, 3e4, layer=layer)
    scaled(model.layers.mlp.up_proj.weight, 3e3, layer=layer)

  assert f"in the output of layer {layer} of the decoder" in described(change, jnp.float16)


def test_overflow_outside_of_the_decoder_is_named():
  def pictures(model):
    scaled(model.visual.merger.fc2.weight, 6e4)
    scaled(model.visual.merger.fc1.weight, 6e3)

  def last(model):
    scaled(model.layers.mlp.down_proj.weight, 3e4, layer=2)
    scaled(model.layers.mlp.up_proj.weight, 3e3, layer=2)

  assert "those of the pictures" in described(pictures, jnp.float16)
  assert "those of the last layer" in described(last, jnp.float16)
  assert "the head overflows" in described(lambda model: None)
