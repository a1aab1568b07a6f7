"""Pictures, in every way they are given; bad ones name their sample."""

import base64
import warnings

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.schema import BadMedia
from tests.media.media_files import NAME, colours, encoded
from tests.media.picture_zoo import chunk


def test_a_picture_is_the_same_in_every_form(tmp_path):
  array = colours(20, 30)
  image = Image.fromarray(array)
  data = encoded(image)
  path = tmp_path / "a picture.png"
  path.write_bytes(data)
  url = "data:image/png;base64," + base64.b64encode(data).decode()
  for source in (array, image, data, bytearray(data), path, str(path), f"file://{path}", url):
    got = media.picture(source, name=NAME)
    assert got.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(got), array)


def test_transparent_pixels_become_white():
  clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
  assert media.picture(clear, name=NAME).getpixel((0, 0)) == (255, 255, 255)
  palette = Image.new("P", (4, 4), 0)
  palette.info["transparency"] = 0
  assert media.picture(palette, name=NAME).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
  assert media.picture(Image.new(mode, (5, 7)), name=NAME).mode == "RGB"


def test_a_photograph_is_turned_upright():
  exif = Image.Exif()
  exif[media.ORIENTATION] = 6
  data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
  assert media.picture(data, name=NAME).size == (20, 30)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_damaged_picture_names_the_sample(kind):
  data = encoded(Image.fromarray(colours(40, 50)), kind)
  refused = 0
  for cut in range(0, len(data), max(1, len(data) // 40)):
    try:
      media.picture(data[:cut], name=NAME)
    except ValueError as error:
      assert NAME in str(error)
      refused += 1
  assert refused > 10


@pytest.mark.parametrize(
  "source, words",
  [
    (b"", "0 bytes is empty"),
    ("no/such.png", "does not exist"),
    ("https://example.com/a.png", "download it first"),
    ("data:image/png;base64,@@@@", "is damaged"),
    ("data:image/png,abc", "not base64"),
    (17, "cannot be a int"),
    (Image.new("RGB", (0, 5)), "0x5 pixels"),
    (np.zeros((0, 5, 3), np.uint8), "5x0 pixels"),
    (np.full((5, 5, 3), 256, np.float32), "float32 with values from 256 to 256"),
    (np.zeros((3, 5, 5), np.uint8), r"not uint8\[3, 5, 5\]"),
  ],
)
def test_a_source_that_is_no_picture_names_the_sample(source, words):
  with pytest.raises(ValueError, match=words) as caught:
    media.picture(source, name=NAME)
  assert NAME in str(caught.value)


def test_a_folder_is_no_picture(tmp_path):
  with pytest.raises(ValueError, match="cannot be read: .*directory"):
    media.picture(tmp_path, name=NAME)


def test_a_very_wide_picture_opens():
  data = encoded(Image.new("L", (20_000, 150)))
  assert media.picture(data, name=NAME).size == (20_000, 150)


@pytest.mark.parametrize("side", [13_400, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(side):
  data = encoded(Image.new("1", (side, side)))
  with pytest.raises(ValueError, match="shrink it first"):
    media.picture(data, name=NAME)


def test_a_huge_picture_is_read_without_a_warning():
  data = encoded(Image.new("1", (9500, 9500), 1))
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    got = media.picture(data, name=NAME)
  assert got.size == (9500, 9500) and got.getpixel((9499, 9499)) == (255, 255, 255)
  with pytest.raises(BadMedia, match="9,500x9,500 pixels is over 90,000,000 .*max_file_pixels"):
    media.picture(data, name=NAME, options=media.Options(max_file_pixels=90_000_000))


def test_the_limit_may_be_above_that_of_pillow():
  data = encoded(Image.new("1", (13_400, 13_400), 1))
  options = media.Options(max_file_pixels=200_000_000)
  assert media.picture_size(data, name=NAME, options=options) == (13_400, 13_400)


def test_encoded_bytes_are_stored_as_given(tmp_path):
  data = b"\x89PNG, not decoded"
  (tmp_path / "a.png").write_bytes(data)
  url = "data:image/png;base64," + base64.b64encode(data).decode()
  for source in (data, bytearray(data), url, tmp_path / "a.png", f"file://{tmp_path / 'a.png'}"):
    assert media.encoded_picture(source, name=NAME) == data
  assert media.encoded_frames([data, url], name=NAME) == [data, data]


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "CMYK", "F"])
def test_a_picture_in_memory_is_stored_as_a_png(mode):
  image = Image.fromarray(colours(4, 5)).convert("L").convert(mode)
  stored = media.encoded_picture(image, name=NAME)
  assert stored.startswith(b"\x89PNG")
  np.testing.assert_array_equal(media.picture(stored, name=NAME), media.picture(image, name=NAME))
  array = colours(4, 5)
  np.testing.assert_array_equal(
    media.picture(media.encoded_picture(array, name=NAME), name=NAME), array
  )


def test_a_thumbnail_is_a_small_copy():
  image = Image.new("RGB", (100, 50), "red")
  found = media.picture(media.thumbnail_url(image, 20), name=NAME)
  assert found.size == (20, 10) and image.size == (100, 50)
  assert found.getpixel((3, 3)) == (255, 0, 0)


def test_a_transparent_grey_of_16_bits_is_over_white():
  values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
  data = encoded(Image.fromarray(values))
  clear = chunk((b"tRNS", int(values[3, 2]).to_bytes(2, "big")))
  header = data.index(b"IDAT") - 4
  got = np.asarray(media.picture(data[:header] + clear + data[header:], name=NAME))
  wanted = (values // 256).astype(np.uint8)
  wanted[3, 2] = 255
  np.testing.assert_array_equal(got, wanted[..., None].repeat(3, -1))
