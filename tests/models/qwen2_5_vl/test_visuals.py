"""Pictures and videos by their headers: lengths without pixels."""

import io
import struct
import zlib

import pytest
from PIL import Image

from cot_rm import media
from cot_rm.batch import Size
from cot_rm.models.qwen2_5_vl import pixels
from tests.media import media_files


def picture(height=84, width=84, seed=0):
  return Image.fromarray(media_files.colours(height, width, seed))


def turned(height, width):
  """A JPEG whose EXIF data says that it must be turned by 90 degrees."""
  exif, out = Image.Exif(), io.BytesIO()
  exif[0x0112] = 6
  picture(height, width).save(out, "JPEG", exif=exif)
  return out.getvalue()


def turned_late(height, width):
  """A PNG whose EXIF data, behind its pixels, says that it must be turned."""
  data = media_files.encoded(picture(height, width))
  chunk = b"eXIf" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
  exif = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
  return data[:-12] + exif + data[-12:]


def user(*parts):
  return [{"role": "user", "content": list(parts)}]


def image(source, **fields):
  return {"type": "image", "image": source, **fields}


def video(source, **fields):
  return {"type": "video", "video": source, **fields}


def test_measured_lengths_are_those_of_the_encoded_prompt(processor, tmp_path):
  media_files.write_video(tmp_path / "clip.mp4", media_files.frames(9, 64, 96), 5)
  chats = (
    [{"role": "user", "content": "a star"}],
    user(image(picture(300, 90)), {"type": "text", "text": "red"}, image(turned(90, 300))),
    user(image(turned_late(90, 300))),
    user(image(picture(500, 500), max_pixels=28 * 28 * 9)),
    user(video([turned(60, 200)] * 5, fps=4), image(media_files.colours(60, 60))),
    user(video(tmp_path / "clip.mp4"), {"type": "text", "text": "star"}),
  )
  for chat in chats:
    encoded = processor(chat, id="t")
    assert processor.measure(chat, id="t") == Size(len(encoded.tokens), len(encoded.patches))


def test_exif_data_behind_the_pixels_turn_a_picture():
  assert media.picture(turned_late(90, 300), name="t").size == (90, 300)
  assert media.picture_size(turned_late(90, 300), name="t") == (90, 300)


def test_lengths_are_measured_without_a_pixel(processor, monkeypatch):
  def refuse(*args, **kwargs):
    raise AssertionError("pixels are read")

  monkeypatch.setattr(pixels, "resize", refuse)
  monkeypatch.setattr(Image.Image, "convert", refuse)
  cut = media_files.encoded(picture(280, 280))[:5000]  # the header is whole, the pixels are not
  assert processor.measure(user(image(cut)), id="t").patches == 400


def test_errors_of_measuring_are_those_of_encoding(processor):
  for chat in (
    user(image(b"\x89PNG")),
    user(image("none.png")),
    user({"type": "image"}),
    user(image(Image.new("L", (20_000, 50)))),
    user(video([picture(56, 56), picture(56, 84)])),
    user({"type": "text", "text": "<|im_end|>"}),
  ):
    with pytest.raises(ValueError) as encoding:
      processor(chat, id="vl-17")
    with pytest.raises(ValueError) as measuring:
      processor.measure(chat, id="vl-17")
    assert str(measuring.value).split("<_io")[0] == str(encoding.value).split("<_io")[0]
    assert type(measuring.value) is type(encoding.value)
    assert str(measuring.value).startswith("example 'vl-17': ")
