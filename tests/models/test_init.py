"""The table of model families."""

import pytest

from cot_rm import models


@pytest.mark.parametrize("name", models.MODELS)
def test_a_family_has_the_face_that_is_promised(name):
  family = models.get(name)
  for part in ("Config", "PRESETS", "Model", "Processor", "HF_KEYS", "from_hf", "to_hf"):
    assert hasattr(family, part), part


def test_an_unknown_family_is_named_with_the_nearest():
  with pytest.raises(ValueError, match="'qwen2_5vl'.*did you mean 'qwen2_5_vl'"):
    models.get("qwen2_5vl")
