"""Model folders come back as written, on any mesh, or say why not."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch
from flax import nnx

from cot_rm import sharding
from cot_rm.checkpoints import model_folder
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from tests.checkpoints.layout import RULES, assert_equal
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def saved(params, tmp_path_factory):
  files = tmp_path_factory.mktemp("files")
  (files / "tokenizer.json").write_text("{}")
  folder = tmp_path_factory.mktemp("made") / "model"
  model_folder.save_model(
    folder,
    params,
    family="qwen2_5_vl",
    config=oracle.CONFIG,
    processor_files=files,
    step=7,
    source="somewhere",
  )
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  """A copy to damage."""
  return shutil.copytree(saved, tmp_path / "model")


def edit(file, **changes):
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_model_folder_comes_back_whole(saved, params):
  opened = model_folder.open_model(saved)
  assert (opened.family, opened.config) == ("qwen2_5_vl", oracle.CONFIG)
  assert_equal(opened.params, params)
  assert str(opened.folder) == str(saved)
  assert (saved / "tokenizer.json").exists()
  info = {key: opened.info[key] for key in ("family", "dtype", "step", "source")}
  assert info == {"family": "qwen2_5_vl", "dtype": "float32", "step": 7, "source": "somewhere"}
  axes = opened.params["layers"]["mlp"]["up_proj"]["weight"].get_metadata()["axes"]
  assert axes == ("layers", "mlp", "embed")


def test_it_opens_on_a_mesh_in_another_dtype(saved, params, mesh):
  opened = model_folder.open_model(saved, mesh=mesh, rules=RULES, dtype="bfloat16")
  up = opened.params["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert up.addressable_shards[0].data.shape == (3, 48, 16)
  assert_equal(opened.params, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))


@pytest.mark.slow
def test_bfloat16_saved_from_a_mesh_opens_on_one_device_bit_for_bit(
  params, mesh, saved, tmp_path, monkeypatch
):
  monkeypatch.setattr(model_folder.fingerprint, "compute", lambda *_, source: [0.0])
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
  low = jax.device_put(low, sharding.shardings_of(low, mesh, RULES))
  model_folder.save_model(
    tmp_path / "m", low, family="qwen2_5_vl", config=oracle.CONFIG, processor_files=saved
  )
  opened = model_folder.open_model(tmp_path / "m")
  assert opened.info["dtype"] == "bfloat16"
  assert_equal(opened.params, low)


def test_a_hugging_face_folder_opens_too(tmp_path):
  wanted = oracle.port(oracle.make(), tmp_path)
  opened = model_folder.open_model(tmp_path)
  assert_equal(opened.params, wanted)
  assert opened.info == {}


def test_weights_that_were_changed_are_refused(folder):
  info = json.loads((folder / model_folder.INFO).read_text())
  edit(folder / model_folder.INFO, fingerprint=[x + 0.01 for x in info["fingerprint"]])
  with pytest.raises(ValueError, match="fingerprint is off by 0.01"):
    model_folder.open_model(folder)


def test_a_second_save_replaces_the_first(folder, params, saved):
  doubled = jax.tree.map(lambda x: 2 * x, params)
  model_folder.save_model(
    folder, doubled, family="qwen2_5_vl", config=oracle.CONFIG, processor_files=saved
  )
  assert_equal(model_folder.open_model(folder).params, doubled)


def test_a_folder_that_was_not_finished_says_so(folder):
  (folder / model_folder.INFO).unlink()
  with pytest.raises(FileNotFoundError, match="not written completely"):
    model_folder.open_model(folder)


def test_missing_parameters_are_an_error(folder):
  shutil.rmtree(folder / model_folder.PARAMS)
  with pytest.raises(FileNotFoundError, match="params: missing"):
    model_folder.open_model(folder)


def test_parameters_that_do_not_fit_the_config_are_all_named(folder):
  edit(folder / model_folder.CONFIG, vocab_size=170, tie_word_embeddings=True)
  with pytest.raises(ValueError) as error:
    model_folder.open_model(folder)
  assert "unexpected (1): lm_head.weight" in str(error.value)
  assert "misshapen (1): embed_tokens.weight (160, 64), not (170, 64)" in str(error.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no folder .*gone"):
    model_folder.open_model(tmp_path / "gone")


def test_a_folder_of_the_form_on_disk_opens(params, tmp_path):
  """Names and values that earlier runs have written; no writer of the package takes part."""
  folder = tmp_path / "old"
  folder.mkdir()
  flat = {".".join(map(str, path)): v.get_value() for path, v in nnx.to_flat_state(params)}
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder / "params", flat)
  values = qwen2_5_vl.to_hf(oracle.CONFIG, dtype="float32")
  (folder / "config.json").write_text(json.dumps(values))
  info = {
    "family": "qwen2_5_vl",
    "dtype": "float32",
    "step": 7,
    "source": None,
    "fingerprint": model_folder.fingerprint.compute("qwen2_5_vl", oracle.CONFIG, params),
  }
  (folder / "cot_rm.json").write_text(json.dumps(info))
  opened = model_folder.open_model(folder)
  assert_equal(opened.params, params)
  assert opened.info == info


def test_the_files_of_a_folder_keep_their_names_and_keys(saved):
  assert {file.name for file in saved.iterdir()} == {
    "config.json",
    "cot_rm.json",
    "params",
    "tokenizer.json",
  }
  info = json.loads((saved / "cot_rm.json").read_text())
  assert [*info] == ["family", "dtype", "step", "source", "fingerprint"]


@pytest.mark.parametrize(
  ("rows", "of_a_device"),
  [
    pytest.param(151_667, 151_667, id="the rows of its tokenizer, an odd number"),
    pytest.param(152_064, 76_032, id="padded"),
  ],
)
def test_tables_of_published_sizes_on_two_devices_give_transformers_logps(
  tmp_path, rows, of_a_device
):
  config = dataclasses.replace(
    oracle.CONFIG,
    vocab_size=rows,
    hidden_size=16,
    num_heads=2,
    head_dim=8,
    mrope_section=(1, 1, 2),
    vision=dataclasses.replace(oracle.CONFIG.vision, out_hidden_size=16),
  )
  model = oracle.make(config)
  model.save_pretrained(tmp_path / "hf")
  (tmp_path / "hf/tokenizer.json").write_text("{}")
  on_mesh = dict(mesh=sharding.make_mesh({"fsdp": 1, "tensor": 2}, jax.devices()[:2]), rules=RULES)
  opened = model_folder.open_model(tmp_path / "hf", **on_mesh)
  model_folder.save_model(
    tmp_path / "model",
    opened.params,
    family="qwen2_5_vl",
    config=config,
    processor_files=tmp_path / "hf",
  )
  opened = model_folder.open_model(tmp_path / "model", **on_mesh)
  for name in ("embed_tokens", "lm_head"):
    table = opened.params[name]["weight"].get_value()
    assert {x.data.shape for x in table.addressable_shards} == {(of_a_device, 16)}
  prompt = oracle.prompt(oracle.PROMPTS["one picture"], model=model)
  tokens = prompt.inputs["input_ids"][0]
  with torch.no_grad():
    theirs = model(**prompt.inputs).logits.log_softmax(-1)[0, :-1].gather(1, tokens[1:, None])
  buckets = packing.Buckets(tokens=(32,), patches=(64,), answers=())
  batch = packing.prompts([prompt.encoded], buckets, rows=1)
  graphdef = nnx.split(nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0))))[0]
  with sharding.use(**on_mesh):
    ours = np.asarray(logprobs.make_batch_logps(graphdef)(opened.params, batch))[0]
  np.testing.assert_allclose(ours[1 : len(tokens)], theirs[:, 0], atol=3e-5)
