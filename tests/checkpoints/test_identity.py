"""A model is told from others that were under its name: by its weights and by its files."""

import json
import os
import shutil
import zlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cot_rm.checkpoints import huggingface, identity, model_folder

TENSORS = {f"layer.{i}": np.full((50, 100), i, ml_dtypes.bfloat16) for i in range(3)}


def write(folder, tensors=TENSORS, name="model.safetensors"):
  folder.mkdir(parents=True, exist_ok=True)
  safetensors.numpy.save_file(tensors, folder / name)
  return folder


@pytest.fixture
def folder(tmp_path):
  out = write(tmp_path / "hf")
  (out / "config.json").write_text("{}")
  (out / "tokenizer.json").write_text("{}")
  return out


def changed(number, place):
  out = {name: tensor.copy() for name, tensor in TENSORS.items()}
  out[f"layer.{number}"].reshape(-1)[place] += 1
  return out


@pytest.mark.parametrize("number", [0, 1, 2])
def test_other_values_in_any_tensor_are_another_model(folder, number):
  before = identity.model_identity(folder)
  write(folder, changed(number, slice(None)))
  assert identity.model_identity(folder) != before


def test_another_config_or_shard_is_another_model_and_a_note_is_not(folder):
  seen = [identity.model_identity(folder)]
  (folder / "README.md").write_text("x")
  (folder / "tokenizer.json").write_text("[]")
  assert identity.model_identity(folder) == seen[0]
  (folder / "config.json").write_text('{"a": 1}')
  seen.append(identity.model_identity(folder))
  write(folder, name="model-2.safetensors")
  seen.append(identity.model_identity(folder))
  assert len(set(seen)) == 3


def test_a_copy_is_the_same_model(folder, tmp_path):
  shutil.copytree(folder, tmp_path / "copy")
  os.utime(tmp_path / "copy" / "model.safetensors", ns=(1, 1))
  assert identity.model_identity(tmp_path / "copy") == identity.model_identity(folder)


def test_tokenizer_and_processor_files_are_told_apart(folder):
  before = identity.processor_identity(folder)
  (folder / "config.json").write_text('{"a": 1}')
  assert identity.processor_identity(folder) == before
  (folder / "preprocessor_config.json").write_text("{}")
  after = identity.processor_identity(folder)
  (folder / "tokenizer.json").write_text("[]")
  assert len({before, after, identity.processor_identity(folder)}) == 3


def test_an_adapter_is_another_model_on_another_base(folder, tmp_path):
  adapter = write(tmp_path / "adapter", name="adapter_model.safetensors")
  note = adapter / "adapter_config.json"
  note.write_text(json.dumps({"base_model_name_or_path": str(folder)}))
  before = identity.model_identity(adapter)
  write(folder, changed(0, slice(None)))
  assert identity.model_identity(adapter) != before


def test_a_model_folder_is_known_by_its_fingerprint(folder):
  info = b'{"fingerprint": [1.5]}'
  (folder / model_folder.INFO).write_bytes(info)
  assert identity.model_identity(folder) == f"{zlib.crc32(info):08x}"


def test_a_hub_id_is_known_by_its_commit(tmp_path, monkeypatch):
  snapshot = write(tmp_path / "models--a--b" / "snapshots" / "c0ffee")
  monkeypatch.setattr(
    huggingface.huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot)
  )
  assert identity.model_identity("a/b") == "c0ffee"


def test_a_model_that_is_not_there_has_no_identity(tmp_path):
  assert identity.model_identity(tmp_path / "none") is None
  assert identity.processor_identity(tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100])
def test_a_damaged_weights_file_has_an_identity(folder, content):
  (folder / "model.safetensors").write_bytes(content)
  assert identity.model_identity(folder)
