"""Pictures are those of transformers, file by file; options restore theirs where they differ."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from cot_rm import media
from tests.media import picture_zoo
from tests.media.media_files import NAME, encoded

FILES = picture_zoo.files()
DEEP = picture_zoo.deep_files()


@pytest.fixture(scope="module")
def over_white():
  """What transformers' image processor makes of a PIL image: RGB, transparency over white."""
  transforms = pytest.importorskip("transformers.image_transforms")
  return lambda image: transforms.convert_to_rgb(image, return_numpy=True)


@pytest.fixture(scope="module")
def load_image():
  """transformers' reader of paths: turned, and transparency dropped."""
  return pytest.importorskip("transformers.image_utils").load_image


def ours(source, **options):
  return np.asarray(media.picture(source, name=NAME, options=media.Options(**options)))


@pytest.mark.parametrize("name", FILES)
def test_a_picture_file_is_read_as_transformers_reads_it(name, over_white, load_image, tmp_path):
  data, path = FILES[name], tmp_path / name
  path.write_bytes(data)
  upright = ImageOps.exif_transpose(picture_zoo.opened(data))
  np.testing.assert_array_equal(ours(data), over_white(upright))
  np.testing.assert_array_equal(ours(path, over_white=False), load_image(str(path)))
  np.testing.assert_array_equal(
    ours(str(path), turn_exif=False), over_white(picture_zoo.opened(data))
  )
  for options in ({}, {"turn_exif": False}):
    size = media.picture_size(data, name=NAME, options=media.Options(**options))
    assert size == ours(data, **options).shape[1::-1]


@pytest.mark.parametrize("name", DEEP)
def test_a_picture_of_more_than_8_bits_shows_its_values(name, over_white):
  data, grey = DEEP[name]
  np.testing.assert_array_equal(ours(data), grey[..., None].repeat(3, axis=2))
  np.testing.assert_array_equal(ours(data, scale_depth=False), over_white(picture_zoo.opened(data)))


@pytest.mark.parametrize("mode", picture_zoo.MODES)
def test_a_pil_image_of_every_mode_is_read_as_transformers_reads_it(mode, over_white):
  image = picture_zoo.of_mode(mode)
  assert image.mode == mode
  if mode == "La":  # Pillow converts it to LA alone, so transformers ends in an error
    wanted = over_white(image.convert("LA"))
  elif mode == "RGBa":  # transformers does not see that the last band is transparency
    wanted = over_white(image.convert("RGBA"))
    np.testing.assert_array_equal(ours(image, over_white=False), over_white(image))
  else:
    wanted = over_white(image)
  deep = mode.startswith("I")  # transformers clips it: nearly all is white
  np.testing.assert_array_equal(ours(image, scale_depth=False), wanted)
  if deep:
    grey = picture_zoo.pixels()[..., 0]
    assert (wanted == 255).mean() > 0.9
    np.testing.assert_array_equal(ours(image), grey[..., None].repeat(3, axis=2))
  else:
    np.testing.assert_array_equal(ours(image), wanted)


@pytest.mark.parametrize("mode", picture_zoo.MODES)
@pytest.mark.parametrize("turn_exif", [True, False])
def test_a_pil_image_is_stored_so_that_it_reads_the_same(mode, turn_exif):
  image = picture_zoo.of_mode(mode)
  image.getexif()[media.ORIENTATION] = 6
  stored = media.encoded_picture(image, name=NAME)
  np.testing.assert_array_equal(ours(stored, turn_exif=turn_exif), ours(image, turn_exif=turn_exif))
  turned = ours(image).shape[:2] == (picture_zoo.WIDTH, picture_zoo.HEIGHT)
  assert turned and media.picture_size(image, name=NAME) == (picture_zoo.HEIGHT, picture_zoo.WIDTH)


@pytest.mark.parametrize("name", FILES)
def test_an_opened_file_is_stored_so_that_it_reads_the_same(name):
  image = picture_zoo.opened(FILES[name])
  stored = media.encoded_picture(image, name=NAME)
  np.testing.assert_array_equal(ours(stored), ours(FILES[name]))


@pytest.mark.parametrize("number", range(1, 9))
def test_exif_after_the_pixels_of_a_png_turns_it(number):
  exif = Image.Exif()
  exif[media.ORIENTATION] = number
  data = picture_zoo.png(picture_zoo.pixels(3), 2)
  late = data[:-12] + picture_zoo.chunk((b"eXIf", exif.tobytes()[6:])) + data[-12:]
  upright = ImageOps.exif_transpose(picture_zoo.opened(late))
  np.testing.assert_array_equal(ours(late), np.asarray(upright))
  assert media.picture_size(late, name=NAME) == upright.size


def test_a_picture_opened_twice_is_turned_once():
  turned = media.picture(FILES["turned_6.jpg"], name=NAME)
  assert media.picture(turned, name=NAME).size == turned.size == (30, 44)


def test_the_first_page_and_the_first_frame_are_read():
  first = picture_zoo.pixels(3)
  for name in ("pages.tif", "animated.webp", "animated.png"):
    np.testing.assert_array_equal(ours(FILES[name]), first)


def test_a_comment_is_kept_also_under_transparency():
  image = Image.fromarray(picture_zoo.pixels())
  image.info["comment"] = "seen"
  assert media.picture(image, name=NAME).info == {"comment": "seen"}
  assert media.picture(FILES["comment.jpg"], name=NAME).info == {"comment": b"hello"}
  assert media.picture(encoded(image), name=NAME).info == {}
  image.info["comment"] = 7
  assert media.picture(image, name=NAME).info == {}
