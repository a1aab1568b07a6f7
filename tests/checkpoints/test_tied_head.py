"""Heads that are the embeddings, and heads that only their config ties."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers

from cot_rm.checkpoints import huggingface, model_folder, weights_files
from tests.models.qwen2_5_vl import oracle

MODEL = transformers.Qwen2_5_VLForConditionalGeneration


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tied")
  oracle.make(oracle.TIED).save_pretrained(folder)
  return folder


def with_head(tied, folder, change):
  """A copy with a head `change(embeddings)` in its file, and its config still tied."""
  shutil.copytree(tied, folder, dirs_exist_ok=True)
  file = folder / weights_files.SINGLE
  tensors = {k: np.array(v) for k, v in safetensors.numpy.load_file(file).items()}
  (table,) = (v for k, v in tensors.items() if k.endswith("embed_tokens.weight"))
  tensors["lm_head.weight"] = change(table)
  safetensors.numpy.save_file(tensors, file, metadata={"format": "pt"})
  assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True
  return folder


def test_a_tied_config_with_another_head_is_opened_untied_with_a_warning(tied, tmp_path, caplog):
  """transformers 5 does the same: its logits are the judge."""
  folder = with_head(tied, tmp_path, lambda table: table[::-1].copy())
  with caplog.at_level("WARNING"):
    _, config, params = huggingface.load(folder)
  assert not config.tie_word_embeddings
  assert "lm_head.weight is another table" in caplog.text
  theirs = MODEL.from_pretrained(folder)
  ours = np.asarray(params["lm_head"]["weight"].get_value())
  np.testing.assert_array_equal(ours, theirs.lm_head.weight.detach().numpy())
  assert not torch.equal(theirs.lm_head.weight, theirs.model.language_model.embed_tokens.weight)


def test_an_untied_model_stays_untied_when_it_is_saved_and_opened_again(tied, tmp_path):
  folder = with_head(tied, tmp_path / "hf", lambda table: table[::-1].copy())
  family, config, params = huggingface.load(folder)
  model_folder.save_model(
    tmp_path / "ours", params, family=family, config=config, processor_files=folder
  )
  again = model_folder.open_model(tmp_path / "ours")
  np.testing.assert_array_equal(
    again.params["lm_head"]["weight"].get_value(), params["lm_head"]["weight"].get_value()
  )


def test_a_tied_config_with_an_equal_head_is_tied(tied, tmp_path, caplog):
  folder = with_head(tied, tmp_path, np.copy)
  with caplog.at_level("WARNING"):
    _, config, params = huggingface.load(folder)
  assert config.tie_word_embeddings and "lm_head" not in params
  assert "another table" not in caplog.text


def test_an_untied_config_without_a_head_is_named(tied, tmp_path):
  shutil.copytree(tied, tmp_path, dirs_exist_ok=True)
  file = tmp_path / "config.json"
  values = json.loads(file.read_text())
  values["tie_word_embeddings"] = False
  values["text_config"]["tie_word_embeddings"] = False
  file.write_text(json.dumps(values))
  with pytest.raises(ValueError, match="tie_word_embeddings false, and the files have no lm_head"):
    huggingface.load(tmp_path)
