"""The key table against the parameters of transformers' model, for every preset."""

import math

import pytest
import torch
import transformers
from flax import nnx

from cot_rm.checkpoints import huggingface
from cot_rm.models import qwen2_5_vl

# Billions of parameters of the released checkpoints.
PUBLISHED = {"3b": 3.75, "7b": 8.29, "32b": 33.45, "72b": 73.41}


@pytest.mark.parametrize("preset", qwen2_5_vl.PRESETS)
def test_names_shapes_and_counts_are_those_of_transformers(preset):
  config = qwen2_5_vl.PRESETS[preset]
  with torch.device("meta"):
    model = transformers.Qwen2_5_VLForConditionalGeneration(
      transformers.Qwen2_5_VLConfig(**qwen2_5_vl.to_hf(config))
    )
  keys = qwen2_5_vl.HF_KEYS
  wanted = {keys.canonical(name): tuple(p.shape) for name, p in model.named_parameters()}
  variables = huggingface.abstract_params("qwen2_5_vl", config)
  found = {
    name: huggingface.tensor_shape(path, variable, keys, config)
    for path, variable in variables.items()
    for name in huggingface.tensor_names(path, variable, keys)
  }
  assert found == wanted
  count = sum(math.prod(v.shape) for v in variables.values())
  assert count == sum(map(math.prod, wanted.values()))
  if preset in PUBLISHED:
    assert round(count / 1e9, 2) == PUBLISHED[preset]


def test_every_parameter_has_an_axis_name_for_each_dimension():
  for path, variable in huggingface.abstract_params("qwen2_5_vl", qwen2_5_vl.PRESETS["7b"]).items():
    axes = variable.get_metadata()["axes"]
    assert len(axes) == len(variable.shape), path
    assert (axes[0] == "layers") == ("{layer}" in qwen2_5_vl.HF_KEYS.name(path)), path


def test_every_line_of_the_table_is_used():
  config = qwen2_5_vl.PRESETS["7b"]
  paths = huggingface.abstract_params("qwen2_5_vl", config).keys()
  unused = set(qwen2_5_vl.HF_KEYS.prefixes)
  for path in paths:
    unused.discard(next(p for p in qwen2_5_vl.HF_KEYS.prefixes if path.startswith(p)))
  assert not unused
  assert qwen2_5_vl.HF_KEYS.shapes.keys() <= paths
  assert isinstance(
    huggingface.to_state(huggingface.abstract_params("qwen2_5_vl", config)), nnx.State
  )
