"""Checkpoints of every origin are opened, or refused by name."""

import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cot_rm.checkpoints import huggingface, weights_files
from cot_rm.models import qwen2_5_vl
from tests.checkpoints.layout import assert_equal
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """{head: folder} as transformers writes it, in one file."""
  folders = {"untied": tmp_path_factory.mktemp("untied"), "tied": tmp_path_factory.mktemp("tied")}
  oracle.make(oracle.CONFIG).save_pretrained(folders["untied"])
  oracle.make(oracle.TIED).save_pretrained(folders["tied"])
  return folders


def released(name):
  """A tensor's name in the released files and those of transformers up to 4.51."""
  return qwen2_5_vl.HF_KEYS.canonical(name)


# Each layout renames a tensor of the released files.
LAYOUTS = {
  "4.49": lambda name: name,
  "in memory since 4.52": lambda name: (
    f"model.{name}"
    if name.startswith("visual.")
    else name.replace("model.", "model.language_model.", 1)
  ),
  "the decoder as a model of its own": lambda name: (
    name if name.startswith("visual.") else f"language_model.{name}"
  ),
  "both in the model": lambda name: (
    f"model.{name}" if name.startswith("visual.") else f"model.language_model.{name}"
  ),
  "the base model": lambda name: name.removeprefix("model."),
  "wrapped by a trainer": lambda name: f"_orig_mod.module.{name}",
  "merged by PEFT": lambda name: f"base_model.model.{name}",
}


def rewrite(source, folder, change):
  """A copy of a folder with the tensors `change({released name: array})`."""
  shutil.copytree(source, folder, dirs_exist_ok=True)
  file = folder / weights_files.SINGLE
  tensors = {released(k): np.array(v) for k, v in safetensors.numpy.load_file(file).items()}
  safetensors.numpy.save_file(change(tensors), file, metadata={"format": "pt"})
  return folder


@pytest.mark.parametrize("head", ["untied", "tied"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_keys_is_the_same_model(saved, tmp_path, layout, head):
  if layout == "the base model" and head == "untied":
    pytest.skip("the base model has no head")
  folder = rewrite(
    saved[head],
    tmp_path,
    lambda tensors: {LAYOUTS[layout](k): v for k, v in tensors.items() if "rotary" not in k},
  )
  found, wanted = huggingface.load(folder), huggingface.load(saved[head])
  assert found[:2] == wanted[:2]
  assert_equal(found[2], wanted[2])


def test_buffers_of_old_releases_are_no_weights(saved, tmp_path):
  folder = rewrite(
    saved["tied"],
    tmp_path,
    lambda tensors: tensors | {"visual.rotary_pos_emb.inv_freq": np.ones(4, np.float32)},
  )
  assert_equal(huggingface.load(folder)[2], huggingface.load(saved["tied"])[2])


def sharded(saved, folder):
  oracle.make(oracle.CONFIG).save_pretrained(folder, max_shard_size="200KB")
  return sorted(folder.glob("*.safetensors"))


def test_shards_without_their_index_are_read(saved, tmp_path):
  assert len(sharded(saved, tmp_path)) > 2
  (tmp_path / weights_files.INDEX).unlink()
  assert_equal(huggingface.load(tmp_path)[2], huggingface.load(saved["untied"])[2])


def test_shards_without_their_index_that_are_not_all_there_are_named(saved, tmp_path):
  shards = sharded(saved, tmp_path)
  (tmp_path / weights_files.INDEX).unlink()
  shards[1].unlink()
  with pytest.raises(FileNotFoundError, match=f"missing are 1: {shards[1].name}"):
    huggingface.load(tmp_path)


def test_an_index_without_its_shards_names_them(saved, tmp_path):
  shards = sharded(saved, tmp_path)
  for shard in shards:
    shard.unlink()
  with pytest.raises(FileNotFoundError, match=rf"missing are {len(shards)}: {shards[0].name}, "):
    huggingface.load(tmp_path)


def test_a_damaged_index_is_named(saved, tmp_path):
  sharded(saved, tmp_path)
  (tmp_path / weights_files.INDEX).write_text('{"metadata": {}}')
  with pytest.raises(ValueError, match="model.safetensors.index.json: not the index"):
    huggingface.load(tmp_path)


def test_one_file_of_another_name_is_read(saved, tmp_path):
  shutil.copytree(saved["tied"], tmp_path, dirs_exist_ok=True)
  (tmp_path / weights_files.SINGLE).rename(tmp_path / "weights.safetensors")
  assert_equal(huggingface.load(tmp_path)[2], huggingface.load(saved["tied"])[2])


@pytest.mark.parametrize(
  "name,words",
  [
    ("pytorch_model-00001-of-00002.bin", "pytorch_model-00001-of-00002.bin: pickled torch"),
    ("pytorch_model.bin", "safe_serialization=True"),
    ("model-q4.gguf", "llama.cpp"),
    ("global_step100", "zero_to_fp32"),
  ],
)
def test_weights_of_another_form_are_named_with_what_to_do(saved, tmp_path, name, words):
  shutil.copytree(saved["tied"], tmp_path, dirs_exist_ok=True)
  (tmp_path / weights_files.SINGLE).unlink()
  (tmp_path / name).write_text("")
  with pytest.raises(FileNotFoundError, match=words):
    huggingface.load(tmp_path)


@pytest.mark.parametrize(
  "quantization,shown",
  [
    ({"quant_method": "awq", "bits": 4}, "awq, 4 bits"),
    ({"quant_method": "gptq", "bits": 8}, "gptq, 8 bits"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits"),
    ({"quant_method": "fp8", "fmt": "e4m3"}, "fp8"),
    ({"load_in_8bit": True}, "bitsandbytes"),
  ],
)
def test_quantized_weights_are_named(saved, tmp_path, quantization, shown):
  shutil.copytree(saved["tied"], tmp_path, dirs_exist_ok=True)
  file = tmp_path / "config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": quantization}))
  with pytest.raises(ValueError, match=rf"quantized \({shown}\).*in bfloat16"):
    huggingface.load(tmp_path)


def test_a_dtype_that_is_not_read_is_named(saved, tmp_path):
  folder = rewrite(
    saved["tied"],
    tmp_path,
    lambda tensors: (
      tensors | {"model.norm.weight": tensors["model.norm.weight"].astype(ml_dtypes.float8_e4m3fn)}
    ),
  )
  with pytest.raises(ValueError, match=r"model.norm.weight \(F8_E4M3\)"):
    huggingface.load(folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_number_that_is_not_finite_is_named_with_its_tensor(saved, tmp_path, bad, dtype):
  name = "model.layers.1.mlp.up_proj.weight"

  def damage(tensors):
    tensors = {k: v.astype(dtype) for k, v in tensors.items()}
    tensors[name][3, 5] = bad
    return tensors

  folder = rewrite(saved["tied"], tmp_path, damage)
  for wanted in (None, "bfloat16"):
    with pytest.raises(ValueError, match=rf"{name} holds NaN or infinite numbers"):
      huggingface.load(folder, dtype=wanted)


def test_a_number_too_large_for_float16_is_named(saved, tmp_path):
  name = "model.layers.2.self_attn.q_proj.bias"

  def enlarge(tensors):
    tensors[name][0] = 1e5
    return tensors

  folder = rewrite(saved["tied"], tmp_path, enlarge)
  with pytest.raises(ValueError, match=rf"{name} holds numbers too large for float16"):
    huggingface.load(folder, dtype="float16")
  assert jax.tree.leaves(huggingface.load(folder, dtype="bfloat16")[2])
