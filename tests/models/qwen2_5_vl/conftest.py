"""A checkpoint folder without weights, for the processor."""

import dataclasses
import json
import shutil

import pytest

from cot_rm.models.qwen2_5_vl import config as config_lib
from cot_rm.models.qwen2_5_vl import processor as processor_lib
from cot_rm.toy_world import tokenizer

TEXTS = ["Which answer is better? Describe the picture first. 12 red stars, user assistant system"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("checkpoint")
  ids = tokenizer.train(TEXTS * 3, folder, vocab_size=200, phrases=["<think>\n"])
  config = dataclasses.replace(config_lib.PRESETS["tiny"], **ids)
  (folder / "config.json").write_text(json.dumps(config_lib.to_hf(config)))
  return folder


@pytest.fixture(scope="module")
def processor(folder):
  return processor_lib.Processor.load(folder)


@pytest.fixture
def broken(folder, tmp_path):
  """A copy to damage."""
  return shutil.copytree(folder, tmp_path / "broken")
