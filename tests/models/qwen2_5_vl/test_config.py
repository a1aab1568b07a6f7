"""Configs from and to config.json, in the layouts of released checkpoints."""

import dataclasses

import pytest
import transformers

from cot_rm.models import qwen2_5_vl

# The config.json of the released 7B, without what no layer reads.
RELEASED_7B = {
  "architectures": ["Qwen2_5_VLForConditionalGeneration"],
  "attention_dropout": 0.0,
  "bos_token_id": 151643,
  "eos_token_id": 151645,
  "vision_start_token_id": 151652,
  "vision_end_token_id": 151653,
  "vision_token_id": 151654,
  "image_token_id": 151655,
  "video_token_id": 151656,
  "hidden_act": "silu",
  "hidden_size": 3584,
  "initializer_range": 0.02,
  "intermediate_size": 18944,
  "max_position_embeddings": 128000,
  "max_window_layers": 28,
  "model_type": "qwen2_5_vl",
  "num_attention_heads": 28,
  "num_hidden_layers": 28,
  "num_key_value_heads": 4,
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "sliding_window": 32768,
  "tie_word_embeddings": False,
  "torch_dtype": "bfloat16",
  "use_cache": True,
  "use_sliding_window": False,
  "vision_config": {
    "depth": 32,
    "hidden_act": "silu",
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "in_chans": 3,
    "out_hidden_size": 3584,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "spatial_patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
    "temporal_patch_size": 2,
  },
  "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
  "vocab_size": 152064,
}


def test_the_released_7b_is_the_preset():
  assert qwen2_5_vl.from_hf(RELEASED_7B) == qwen2_5_vl.PRESETS["7b"]


@pytest.mark.parametrize("preset", qwen2_5_vl.PRESETS)
def test_a_config_survives_the_round_trip_also_through_transformers(preset):
  config = qwen2_5_vl.PRESETS[preset]
  assert qwen2_5_vl.from_hf(qwen2_5_vl.to_hf(config)) == config
  nested = transformers.Qwen2_5_VLConfig(**qwen2_5_vl.to_hf(config)).to_dict()
  assert "text_config" in nested and "hidden_size" not in nested
  assert qwen2_5_vl.from_hf(nested) == config


def test_transformers_reads_the_same_sizes():
  """A field that to_hf leaves out would take transformers' default."""
  theirs = transformers.Qwen2_5_VLConfig(**RELEASED_7B)
  ours = transformers.Qwen2_5_VLConfig(**qwen2_5_vl.to_hf(qwen2_5_vl.PRESETS["7b"]))
  read = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "rms_norm_eps",
    "vocab_size",
    "hidden_act",
    "layer_types",
  )
  for name in read:
    assert getattr(ours.text_config, name) == getattr(theirs.text_config, name), name
  for name in ("rope_theta", "mrope_section", "rope_type"):
    assert ours.text_config.rope_parameters[name] == theirs.text_config.rope_parameters[name], name
  for name in RELEASED_7B["vision_config"]:
    assert getattr(ours.vision_config, name) == getattr(theirs.vision_config, name), name


def test_sizes_that_a_nested_config_leaves_out_are_transformers_defaults():
  """Of a nested config only what its class's defaults do not say may be in the file."""
  values = RELEASED_7B | {
    "vision_config": {
      "hidden_size": 1280,
      "in_chans": 3,
      "model_type": "qwen2_5_vl",
      "spatial_patch_size": 14,
      "tokens_per_second": 2,
      "torch_dtype": "bfloat16",
    }
  }
  assert qwen2_5_vl.from_hf(values) == qwen2_5_vl.PRESETS["7b"]
  theirs = transformers.Qwen2_5_VLConfig(**values).vision_config
  for name, value in RELEASED_7B["vision_config"].items():
    found = getattr(theirs, name)
    assert (list(found) if isinstance(found, tuple) else found) == value, name

  nested = transformers.Qwen2_5_VLConfig(**qwen2_5_vl.to_hf(qwen2_5_vl.PRESETS["72b"]))
  diff = nested.to_diff_dict()
  defaults = transformers.Qwen2_5_VLConfig().text_config.to_dict()
  for name in ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"):
    assert diff["text_config"].pop(name, defaults[name]) == defaults[name]
  assert qwen2_5_vl.from_hf(diff) == qwen2_5_vl.PRESETS["72b"]


@pytest.mark.parametrize("kind", ["mrope", "default"])
@pytest.mark.parametrize("spelling", ["type", "rope_type"])
@pytest.mark.parametrize("nested", [False, True])
def test_each_spelling_of_the_rotary_settings_is_read(nested, spelling, kind):
  values = dict(RELEASED_7B)
  sections = values.pop("rope_scaling")["mrope_section"]
  rope = {spelling: kind, "mrope_section": sections}
  if nested:
    text = {k: values.pop(k) for k in [*values] if "hidden" in k or k.startswith(("num", "inter"))}
    text |= {"rope_parameters": rope | {"rope_theta": values.pop("rope_theta")}}
    values |= {"text_config": text | {k: values.pop(k) for k in ("vocab_size", "rms_norm_eps")}}
    values["dtype"] = values.pop("torch_dtype")
  else:
    values["rope_scaling"] = rope
  assert qwen2_5_vl.from_hf(values) == qwen2_5_vl.PRESETS["7b"]


def test_a_tie_inside_text_config_counts():
  """Some 4.x releases wrote it there, and the default at the top level."""
  values = qwen2_5_vl.to_hf(dataclasses.replace(qwen2_5_vl.PRESETS["7b"]))
  values |= {"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}}
  assert qwen2_5_vl.from_hf(values).tie_word_embeddings
  assert transformers.Qwen2_5_VLConfig(
    **{**values, "text_config": {"tie_word_embeddings": True}}
  ).tie_word_embeddings


@pytest.mark.parametrize(
  "name,value,text",
  [
    ("model_type", "qwen2_vl", "model_type 'qwen2_vl'"),
    ("hidden_act", "gelu", "hidden_act is 'gelu'"),
    ("use_sliding_window", True, "use_sliding_window is True"),
    ("vision_config", None, "vision_config is None, not an object"),
  ],
)
def test_an_unsupported_setting_is_an_error(name, value, text):
  with pytest.raises(ValueError, match=text):
    qwen2_5_vl.from_hf(RELEASED_7B | {name: value})


def test_a_scaled_rope_is_an_error():
  scaled = {"type": "yarn", "factor": 4.0, "mrope_section": [16, 24, 24]}
  with pytest.raises(ValueError, match="yarn"):
    qwen2_5_vl.from_hf(RELEASED_7B | {"rope_scaling": scaled})


def test_a_missing_number_is_named():
  values = {k: v for k, v in RELEASED_7B.items() if k != "hidden_size"}
  with pytest.raises(ValueError, match="config.json: hidden_size is missing"):
    qwen2_5_vl.from_hf(values)


@pytest.mark.parametrize(
  "change,text",
  [
    (dict(mrope_section=(16, 24, 23)), "mrope_section"),
    (dict(num_kv_heads=3), "a multiple of num_kv_heads"),
    (
      dict(vision=dataclasses.replace(qwen2_5_vl.PRESETS["7b"].vision, out_hidden_size=1)),
      "out_hidden_size",
    ),
  ],
)
def test_sizes_that_contradict_each_other_are_an_error(change, text):
  with pytest.raises(ValueError, match=text):
    dataclasses.replace(qwen2_5_vl.PRESETS["7b"], **change)


def test_a_patch_holds_two_frames_of_three_colours():
  assert qwen2_5_vl.PRESETS["7b"].vision.patch_dim == 2 * 3 * 14 * 14
  assert qwen2_5_vl.PRESETS["7b"].vision.head_dim == 80
