import pytest

from cot_rm.models.checkpoint_keys import CheckpointKeys

KEYS = CheckpointKeys(
  prefixes={"layers.": "model.layers.{layer}.", "norm.": "model.norm."},
  aliases={"model.language_model.": "model."},
  shapes={},
  tied="lm_head.weight",
  embeddings="model.embed_tokens.weight",
  wrappers=("module.",),
  buffers=(".inv_freq",),
)


def test_a_path_gets_the_checkpoint_s_prefix():
  assert KEYS.name("layers.mlp.weight") == "model.layers.{layer}.mlp.weight"
  with pytest.raises(KeyError, match="no prefix of the key table fits parameter 'head.weight'"):
    KEYS.name("head.weight")


def test_another_layout_s_name_becomes_the_written_one():
  assert KEYS.canonical("model.language_model.norm.weight") == "model.norm.weight"
  assert KEYS.canonical("model.norm.weight") == "model.norm.weight"
  assert KEYS.canonical("module.module.model.norm.weight") == "model.norm.weight"


def test_tensors_that_the_model_computes_are_no_weights():
  assert KEYS.is_buffer("model.rotary_emb.inv_freq")
  assert not KEYS.is_buffer("model.norm.weight")
