"""The table of model families."""

import pytest
from flax import nnx

from cot_rm import models


@pytest.mark.parametrize("name", models.MODELS)
def test_a_family_has_the_interface_of_a_model_family(name):
  family = models.get(name)
  assert isinstance(family, models.ModelFamily)
  config = family.PRESETS["tiny"]
  model = family.Model(config, rngs=nnx.Rngs(0))
  assert isinstance(model, models.Model)
  assert config.kv_numbers_per_token > 0 and config.vision.patch_dim > 0


def test_an_unknown_family_is_named_with_the_nearest():
  with pytest.raises(ValueError, match="'qwen2_5vl'.*did you mean 'qwen2_5_vl'"):
    models.get("qwen2_5vl")
