"""Bad input at the public face: a clear error that names the sample, the number and the knob."""

import dataclasses
import gc
import json
import shutil
import struct
import zlib

import pytest
from PIL import Image

import cot_rm
from cot_rm.checkpoints import huggingface, model_folder
from cot_rm.data import packing
from cot_rm.schema import Example, Media
from cot_rm.toy_world import tokenizer
from cot_rm.toy_world import world as toy_world


@pytest.fixture(scope="module")
def judge(tiny_folder):
  buckets = packing.Buckets(tokens=(64, 128), patches=(72, 144), answers=())
  return cot_rm.load(tiny_folder, buckets=buckets, max_prompts=4)


@pytest.fixture
def released(tiny_folder, tmp_path):
  """A Hugging Face folder of the tiny model, in two shards, to damage."""
  opened = model_folder.open_model(tiny_folder)
  huggingface.save(
    tmp_path / "hf",
    opened.params,
    family=opened.family,
    config=opened.config,
    max_shard_bytes=2 << 20,
    files_from=tiny_folder,
  )
  return tmp_path / "hf"


def pair(**changes):
  example = next(toy_world.examples(toy_world.World(), "check", count=1))
  return dataclasses.replace(example, id="vl-17", **changes)


def noise_image(source):
  """A pair of pictures of which the second is bad."""
  pictures = (Media("image", Image.new("RGB", (84, 84))), Media("image", source))
  return Example("vl-17", "mine", "image_generation", "a red star", media=pictures)


def header(width, height):
  """A PNG that says how large it is and holds next to nothing."""
  chunk = lambda body: struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
  size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR" + size) + chunk(b"IDAT" + zlib.compress(b"0"))


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
    cot_rm.load(tmp_path / "nowhere")


def test_half_a_shard_is_named(released):
  shard = sorted(released.glob("*.safetensors"))[1]
  shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
  with pytest.raises(ValueError, match=shard.name):
    cot_rm.load(released)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_half_a_checkpoint_of_ours_is_named(tiny_folder, tmp_path):
  folder = shutil.copytree(tiny_folder, tmp_path / "model")
  largest = max((folder / "params").rglob("*"), key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
  with pytest.raises(ValueError, match=f"{folder}/params: a file in it is damaged"):
    cot_rm.load(folder)
  gc.collect()  # here: reads of the other parameters fail too, and say so when they are let go


def test_a_tokenizer_that_is_too_large_for_the_model_is_an_error(released):
  sizes = json.loads((released / "config.json").read_text())
  world = toy_world.World()
  ids = tokenizer.train(
    [*toy_world.corpus(world, 300), *("another word " * 9 + chr(c) for c in range(0x3B1, 0x3C9))],
    released,
    vocab_size=512,
    phrases=toy_world.phrases(world),
  )
  assert ids["vocab_size"] > sizes["vocab_size"]
  message = f"last token has the id {ids['vocab_size'] - 1}, the model {sizes['vocab_size']} rows"
  with pytest.raises(ValueError, match=message):
    cot_rm.load(released)


@pytest.mark.parametrize(
  "source, message",
  [
    (b"no picture", "no readable picture"),
    ("nowhere.png", "'nowhere.png' does not exist"),
    (Image.new("RGB", (0, 5)), "0x5 pixels"),
    (header(20_000, 20_000), "20,000x20,000 pixels is over 178,956,970"),
    (Image.new("RGB", (20_000, 50)), "20,?000"),
  ],
)
def test_a_bad_picture_names_the_sample(judge, source, message):
  with pytest.raises(ValueError, match=f"example 'vl-17'.*({message})"):
    judge.compare([pair(), noise_image(source)], grammar="brief", max_tokens=8)


def test_a_picture_twenty_thousand_pixels_wide_is_shrunk_to_one_row(judge):
  messages = [
    {
      "role": "user",
      "content": [
        {"type": "image", "image": Image.new("RGB", (20_000, 120), "red"), "max_pixels": 84 * 84},
        {"type": "text", "text": "Caption: a"},
      ],
    }
  ]
  seen = judge.processor(messages, id="long")
  assert set(seen.hw[:, 0]) == {0, 1} and len(seen.patches) < 400


def test_an_empty_response_names_the_sample(judge):
  example = Example(
    "vl-17", "mine", "image_understanding", "how many?", media=(), responses=("two", " ")
  )
  with pytest.raises(ValueError, match="example 'vl-17': response 2 is empty"):
    judge.compare([example], grammar="brief")


def test_an_empty_answer_has_no_log_probability(judge):
  with pytest.raises(ValueError, match="text is empty"):
    judge.logps([{"role": "user", "content": "Caption: a"}], "")


def test_a_sampling_knob_out_of_range_is_named(judge):
  with pytest.raises(ValueError, match="top_p 0.0 is out of range"):
    judge.complete([[{"role": "user", "content": "Caption: a"}]], top_p=0.0)
