"""The port stage: a Hugging Face folder in, the same folder back out."""

import pytest
import torch
import transformers
from etils import epath

from configs import port as port_config
from cot_rm.checkpoints import model_folder
from cot_rm.stages import common, port
from tests.checkpoints import test_lora as adapters
from tests.checkpoints.layout import assert_equal
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp("hf")
  oracle.make().save_pretrained(folder)
  (folder / "tokenizer.json").write_text("{}")
  return folder


def run(workdir, name="port", **knobs):
  config = port_config.get_config()
  config.port.update(knobs)
  return port.run(config, epath.Path(workdir), name)


def test_a_checkpoint_converted_and_back_is_equal_bit_for_bit(source, tmp_path):
  figures = run(tmp_path, source=str(source), dtype="float32")
  ported = model_folder.open_model(tmp_path / "port" / "model")
  assert ported.info["source"] == str(source)
  assert (tmp_path / "port" / "model" / "tokenizer.json").exists()
  run(tmp_path, "back", source="port", target="hf", dtype="float32")
  back = tmp_path / "back" / "model"
  model, told = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
    back, output_loading_info=True
  )
  assert not any(told.values()), told
  wanted = oracle.make()
  assert figures == {"parameters": sum(p.numel() for p in wanted.parameters())}
  for name, value in wanted.state_dict().items():
    assert torch.equal(model.state_dict()[name], value), name
  assert (back / "tokenizer.json").exists()


def test_an_adapter_is_ported_merged_and_is_a_start_under_the_name_of_its_stage(source, tmp_path):
  module = "model.language_model.layers.0.self_attn.q_proj"
  tensors, products = adapters.factors(oracle.make(), [module])
  adapter = adapters.write(tmp_path / "adapter", source, tensors)
  run(tmp_path, source=str(adapter), dtype="float32")
  ported = model_folder.open_model(common.resolve_path(epath.Path(tmp_path), "port"))
  assert_equal(ported.params, model_folder.open_model(adapter).params)
  merged = adapters.merged(source, products, adapters.ALPHA / adapters.R)
  adapters.logits_agree(ported, merged)


def test_a_bad_knob_is_an_error_that_names_it(source, tmp_path):
  with pytest.raises(ValueError, match=r"config\.port\.target is 'torch'"):
    run(tmp_path, source=str(source), target="torch")
  with pytest.raises(ValueError, match=r"config\.port\.source is empty"):
    run(tmp_path)
  with pytest.raises(FileNotFoundError, match="no folder"):
    run(tmp_path, source=str(tmp_path / "gone"))
