"""A picture in any form is the same picture in every place that opens one."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from cot_rm import chat, media
from cot_rm.chat import pictures as chat_pictures
from cot_rm.data import array_record, jsonl, sample_records
from cot_rm.models.qwen2_5_vl.processor import Processor
from cot_rm.prompts import brief
from cot_rm.schema import BadMedia, Completion, Example, Media, Verdict
from cot_rm.toy_world import world
from tests.media import picture_zoo
from tests.media.media_files import colours, encoded

PIXELS = colours(56, 84)
IMAGE = Image.fromarray(PIXELS)
DATA = encoded(IMAGE)
TEXT = base64.b64encode(DATA).decode()
LINES = "\n".join(re.findall(".{1,76}", TEXT))
SAFE = TEXT.replace("+", "-").replace("/", "_").rstrip("=")
GREY = np.asarray(IMAGE.convert("L"))
FORMS = {
  "path": lambda path: path,
  "text path": str,
  "file URL": lambda path: f"file://{path}",
  "encoded file URL": lambda path: path.as_uri(),
  "localhost": lambda path: f"file://localhost{path}",
  "FILE": lambda path: f"FILE://{path}",
  "data URL": lambda _: f"data:image/png;base64,{TEXT}",
  "data URL of a wrong type": lambda _: f"data:image/jpeg;base64,{TEXT}",
  "data URL without a type": lambda _: f"data:;base64,{TEXT}",
  "data URL with parameters": lambda _: f"data:image/png;charset=utf-8;name=a.png;base64,{TEXT}",
  "data URL in capitals": lambda _: f"DATA:IMAGE/PNG;BASE64,{TEXT}",
  "data URL in lines": lambda _: f"data:image/png;base64,{LINES}\n",
  "data URL without padding": lambda _: f"data:image/png;base64,{SAFE}",
  "percent-encoded data URL": lambda _: (
    "data:image/png;base64," + TEXT.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
  ),
  "base64": lambda _: TEXT,
  "base64 in lines": lambda _: LINES,
  "base64 in lines of Windows": lambda _: LINES.replace("\n", "\r\n"),
  "base64 without padding": lambda _: TEXT.rstrip("="),
  "base64 that is safe in URLs": lambda _: SAFE,
  "bytes": lambda _: DATA,
  "bytearray": lambda _: bytearray(DATA),
  "memoryview": lambda _: memoryview(DATA),
  "PIL": lambda _: IMAGE,
  "PIL of a file": lambda _: Image.open(io.BytesIO(DATA)),
  "RGBA": lambda _: IMAGE.convert("RGBA"),
  "u8": lambda _: PIXELS,
  "u8 that is no block": lambda _: np.asfortranarray(PIXELS)[::1],
  "u8 with alpha": lambda _: np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)]),
  "u16": lambda _: PIXELS.astype(np.uint16) * 257,
  "i64": lambda _: PIXELS.astype(np.int64),
  "float": lambda _: PIXELS.astype(np.float32),
  "float up to 1": lambda _: PIXELS / 255,
  "record of bytes": lambda _: {"bytes": DATA, "path": "gone.png"},
  "record of a path": lambda path: {"bytes": None, "path": str(path)},
  "record of base64": lambda _: {"base64": LINES},
  "record of a URL": lambda _: {"url": f"data:image/png;base64,{TEXT}"},
}


@pytest.fixture(scope="module")
def processor(tiny_folder):
  return Processor.load(tiny_folder)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  found = tmp_path_factory.mktemp("of pictures") / "a ü%.png"
  found.write_bytes(DATA)
  return found


def asking(*media_):
  return Example("e", "s", "image_understanding", "which?", media_, ("a", "b"))


def example(form, path):
  return asking(
    Media("image", FORMS[form](path)), Media("video", [FORMS[form](path), FORMS[form](path)], 2.0)
  )


def shown(found):
  """The pixels of an example's picture and of its video's frames."""
  image, video = found.media
  pictures = [media.picture(image.source, name="x")]
  pictures += media.video(video.source, name="x").read([0, 1])
  return np.stack(pictures)


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_in_any_form_is_the_same_in_every_place(form, path, processor, tmp_path):
  given = example(form, path)
  plain = asking(Media("image", PIXELS), Media("video", [PIXELS] * 2, 2.0))
  np.testing.assert_array_equal(shown(given), [PIXELS] * 3)
  assert media.picture_size(given.media[0].source, name="x") == IMAGE.size

  messages = brief.render(given)
  encoded_, wanted = processor(messages, id="e"), processor(brief.render(plain), id="e")
  np.testing.assert_array_equal(encoded_.patches, wanted.patches)
  assert processor.measure(messages, id="e") == (len(wanted.tokens), len(wanted.patches))

  sent = [
    chat_pictures.openai_messages(brief.render(e), chat.Pictures(), name="e")
    for e in (given, plain)
  ]
  assert sent[0] == sent[1]

  array_record.check_storable(given)
  array_record.write(tmp_path / "set", {"some": [given]})
  np.testing.assert_array_equal(shown(array_record.open(tmp_path / "set", "some")[0]), [PIXELS] * 3)

  jsonl.write(tmp_path / "a.jsonl", [given])
  (read,) = jsonl.read(tmp_path / "a.jsonl")
  np.testing.assert_array_equal(shown(read), [PIXELS] * 3)

  np.testing.assert_array_equal(
    shown(world.blank(given)), np.zeros_like([PIXELS] * 3) + PIXELS[0, 0]
  )
  record = sample_records.to_record(
    given, Completion("", np.zeros(0), np.zeros(0), "stop"), Verdict(None), {}
  )
  thumbnails = [record["media"][0], *record["media"][1]]
  for thumbnail in thumbnails:
    np.testing.assert_array_equal(np.asarray(media.picture(thumbnail, name="x")), PIXELS)


@pytest.mark.parametrize("shape", [(56, 84), (56, 84, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float64])
def test_a_grey_array_is_a_grey_picture(shape, kind):
  got = media.picture(GREY.reshape(shape).astype(kind), name="x")
  np.testing.assert_array_equal(np.asarray(got), GREY[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
  "part",
  [
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}"}},
    {"type": "image_url", "image_url": f"data:image/png;base64,{TEXT}"},
    {"type": "input_image", "image_url": f"data:image/png;base64,{TEXT}", "detail": "low"},
    {"type": "image", "base64": LINES},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}},
    {"image": DATA},
  ],
)
def test_a_part_of_any_dialect_is_the_same_for_a_policy_and_for_a_service(part, processor):
  text = {"type": "text", "text": "which?"}
  given = [{"role": "user", "content": [part, text]}]
  plain = [{"role": "user", "content": [{"type": "image", "image": PIXELS}, text]}]
  encoded_, wanted = processor(given, id="e"), processor(plain, id="e")
  np.testing.assert_array_equal(encoded_.patches, wanted.patches)
  assert encoded_.tokens.tolist() == wanted.tokens.tolist()
  settings = chat.Pictures()
  assert chat_pictures.openai_messages(given, settings, name="e") == (
    chat_pictures.openai_messages(plain, settings, name="e")
  )


def test_a_damaged_picture_is_bad_media_for_the_processor(processor):
  rng, files, refused = np.random.default_rng(0), picture_zoo.all_files(), 0
  for name in [*files] * 2:
    part = {"type": "image", "image": picture_zoo.mutated(rng, files, name)}
    messages = [{"role": "user", "content": [part]}]
    try:
      tokens = len(processor(messages, id="e").tokens)
      assert processor.measure(messages, id="e").tokens == tokens
    except BadMedia as error:
      assert str(error).startswith("example 'e'")
      refused += 1
  assert refused > 50
