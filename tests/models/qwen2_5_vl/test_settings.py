"""Processor files of a checkpoint folder, and their errors."""

import json

import pytest

from cot_rm.models.qwen2_5_vl import processor as processor_lib


def edit(path, **values):
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_saving_keeps_an_existing_config(processor, tmp_path):
  (tmp_path / "config.json").write_text("{}")
  processor.save(tmp_path)
  assert (tmp_path / "config.json").read_text() == "{}"


def test_a_saved_processor_loads_in_transformers(processor, tmp_path):
  module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
  processor.save(tmp_path)
  theirs = module.Qwen2VLImageProcessorPil.from_pretrained(str(tmp_path))
  assert theirs.size["longest_edge"] == processor.settings.max_pixels
  assert tuple(theirs.image_mean) == processor.settings.image_mean


def test_settings_of_a_newer_processor_config_are_read(broken):
  values = json.loads((broken / "preprocessor_config.json").read_text())
  values |= {"size": {"shortest_edge": 784, "longest_edge": 7840}}
  del values["min_pixels"], values["max_pixels"]
  (broken / "preprocessor_config.json").unlink()
  (broken / "processor_config.json").write_text(json.dumps({"image_processor": values}))
  settings = processor_lib.Processor.load(broken).settings
  assert (settings.min_pixels, settings.max_pixels) == (784, 7840)


def test_the_chat_template_file_has_precedence(broken):
  (broken / "chat_template.json").write_text(json.dumps({"chat_template": "star"}))
  got = processor_lib.Processor.load(broken)([{"role": "user", "content": "a"}], id="t")
  assert got.tokens.tolist() == processor_lib.Processor.load(broken).encode("star")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_a_missing_file_is_named(broken, missing):
  (broken / missing).unlink()
  with pytest.raises(FileNotFoundError, match=missing) as caught:
    processor_lib.Processor.load(broken)
  assert str(broken) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such checkpoint folder.*nowhere"):
    processor_lib.Processor.load(tmp_path / "nowhere")


def test_a_missing_template_is_named(broken):
  edit(broken / "tokenizer_config.json", chat_template=None)
  with pytest.raises(FileNotFoundError, match="no chat template"):
    processor_lib.Processor.load(broken)


def test_files_of_different_checkpoints_are_refused(broken):
  edit(broken / "config.json", image_token_id=77)
  with pytest.raises(ValueError, match="'<|image_pad|>' the id 77, the tokenizer 5"):
    processor_lib.Processor.load(broken)
  edit(broken / "config.json", image_token_id=5, vocab_size=50)
  with pytest.raises(ValueError, match="the model 50 rows"):
    processor_lib.Processor.load(broken)
  edit(broken / "config.json", vocab_size=512)
  edit(broken / "preprocessor_config.json", patch_size=16)
  with pytest.raises(ValueError, match="patch_size is 16, but config.json says 14"):
    processor_lib.Processor.load(broken)


def test_settings_out_of_range_are_refused(folder):
  for knobs, words in (
    (dict(min_pixels=9, max_pixels=8), "min_pixels 9 and max_pixels 8"),
    (dict(fps=0), "fps 0"),
    (dict(mrope="hf6"), "unknown mrope mode 'hf6'"),
  ):
    with pytest.raises(ValueError, match=words):
      processor_lib.Processor.load(folder, **knobs)
