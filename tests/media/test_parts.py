"""Parts of chats in every dialect have one form."""

import base64

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.schema import BadExample
from tests.media.media_files import NAME, encoded

DATA = encoded(Image.new("RGB", (3, 2), "red"))
TEXT = base64.b64encode(DATA).decode()
URL = "data:image/png;base64," + TEXT


def one(part):
  (turn,) = media.turns([{"role": "user", "content": [part]}], name=NAME)
  return turn.content[0]


@pytest.mark.parametrize(
  "part",
  [
    {"type": "image", "image": DATA},
    {"type": "image", "image": URL},
    {"type": "image", "image": TEXT},
    {"type": "image", "image": {"bytes": DATA, "path": None}},
    {"type": "image", "image": Image.new("RGB", (3, 2), "red")},
    {"type": "image", "url": URL},
    {"type": "image", "base64": TEXT},
    {"type": "image", "base64": URL},
    {"type": "image", "image_url": URL},
    {"type": "image_url", "image_url": URL},
    {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
    {"type": "input_image", "image_url": URL, "detail": "auto"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}},
    {"type": "image", "source": {"type": "url", "url": URL}},
    {"image": DATA},
    {"image_url": {"url": URL}},
  ],
)
def test_a_picture_of_every_dialect_opens(part):
  found = one(part)
  assert found["type"] == "image"
  image = media.picture(found["image"], name=NAME)
  assert image.size == (3, 2) and image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
  "part",
  [
    {"type": "video", "video": "clip.mp4", "fps": 2},
    {"type": "video", "path": "clip.mp4", "fps": 2},
    {"type": "video_url", "video_url": {"url": "clip.mp4"}, "fps": 2},
    {"video": "clip.mp4", "fps": 2},
    {"type": "input_video", "input_video": "clip.mp4", "fps": 2},
    {"type": "video", "bytes": "clip.mp4", "fps": 2},
  ],
)
def test_a_video_of_every_dialect_keeps_its_knobs(part):
  assert one(part) == {"type": "video", "video": "clip.mp4", "fps": 2}


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_a_text_of_every_dialect_is_a_text(kind):
  assert one({"type": kind, "text": "hi"}) == {"type": "text", "text": "hi"}
  (turn,) = media.turns([{"role": "user", "content": "hi"}], name=NAME)
  assert turn == media.Turn("user", "hi")


@pytest.mark.parametrize(
  "messages, words",
  [
    (["hi"], "a message must be a dict"),
    ([{"content": "hi"}], "has the role None"),
    ([{"role": "user"}], "not NoneType"),
    ([], "a chat without a message"),
    ([{"role": "user", "content": ["hi"]}], "a content part must be a dict, not str"),
    ([{"role": "user", "content": [{}]}], "unknown content part None"),
    ([{"role": "user", "content": [{"type": ["a"]}]}], r"unknown content part \['a'\]"),
    ([{"role": "user", "content": [{"type": "image"}]}], "has no image: none of image, "),
    ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "has no image"),
    ([{"role": "user", "content": [{"type": "image", "image": {}}]}], "a record of a picture"),
    ([{"role": "user", "content": [{"type": "image", "base64": "A"}]}], "not base64"),
    ([{"role": "user", "content": [{"type": "text", "text": 3}]}], "a text part holds int"),
    ([{"role": "user", "content": "\ud83d"}], "lone surrogate"),
    ([{"role": "user", "content": [{"type": "text", "text": "a\udc00b"}]}], "lone surrogate"),
  ],
)
def test_a_part_that_is_none_is_a_bad_example(messages, words):
  with pytest.raises(BadExample, match=words) as caught:
    media.turns(messages, name=NAME)
  assert str(caught.value).startswith(NAME)


def test_arrays_pass_through():
  array = np.zeros((2, 2, 3), np.uint8)
  assert one({"type": "image", "image": array})["image"] is array
