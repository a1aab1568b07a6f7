"""Damaged picture files of all formats: bad media or pixels, and nothing else."""

import collections
import warnings

import numpy as np
import pytest

from cot_rm import chat, media
from cot_rm.chat import pictures as chat_pictures
from cot_rm.schema import BadMedia
from tests.media import picture_zoo
from tests.media.media_files import NAME

FILES = picture_zoo.all_files()
NAMES = tuple(FILES)


def outcome(read):
  """The result of a reader, or None where the picture is bad media that names the sample."""
  try:
    return read()
  except BadMedia as error:
    assert NAME in str(error)
    return None


def run(seed, count, folder):
  rng, found = np.random.default_rng(seed), collections.Counter()
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("default")
    for number in range(count):
      name = NAMES[number % len(NAMES)]
      data = picture_zoo.mutated(rng, FILES, name)
      source = data
      if number % 3 == 0:  # by a path, under the name of another format
        source = folder / NAMES[rng.integers(len(NAMES))]
        source.write_bytes(data)
      size = outcome(lambda source=source: media.picture_size(source, name=NAME))
      image = outcome(lambda source=source: media.picture(source, name=NAME))
      stored = outcome(lambda source=source: media.encoded_picture(source, name=NAME))
      assert stored == (data or None)
      part = {"type": "image", "image": source}
      messages = [{"role": "user", "content": [part]}]
      sent = outcome(
        lambda messages=messages: chat_pictures.openai_messages(
          messages, chat.Pictures(), name=NAME
        )
      )
      assert sent is None or image is not None
      if image is not None:
        assert image.mode == "RGB" and image.size == size, name
      found["read" if image else "refused"] += 1
  return found, len(caught)


def test_a_damaged_picture_is_bad_media_or_pixels(tmp_path):
  found, noise = run(0, 900, tmp_path)
  assert found["read"] > 100 and found["refused"] > 300
  assert noise < 40  # the same warning is shown once


@pytest.mark.slow
def test_many_damaged_pictures_are_bad_media_or_pixels(tmp_path):
  found, _ = run(1, 10_000, tmp_path)
  assert found["read"] > 1000 and found["refused"] > 3000


def test_a_file_of_noise_is_bad_media():
  rng = np.random.default_rng(0)
  for size in [*range(40), *rng.integers(40, 400, 60)]:
    assert outcome(lambda size=size: media.picture(rng.bytes(size), name=NAME)) is None


def test_a_small_file_that_claims_to_be_large_takes_no_memory():
  for name in ("rgb.bmp", "rgb.png", "rgb.tga", "rgb.jpg"):
    data = bytearray(FILES[name])
    at = {"rgb.bmp": 18, "rgb.png": 16, "rgb.tga": 12, "rgb.jpg": data.find(b"\xff\xc0") + 5}[name]
    data[at : at + 4] = b"\xff" * 4
    with pytest.raises(BadMedia):
      media.picture(bytes(data), name=NAME)
