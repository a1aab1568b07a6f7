"""Pixels against transformers' Qwen2VLImageProcessorPil."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from cot_rm import media
from cot_rm.models.qwen2_5_vl import pixels
from tests.media import picture_zoo

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SIZES = [
  (84, 84),
  (56, 112),
  (1, 1),
  (3, 500),
  (10, 2000),
  (28, 28),
  (100, 101),
  (333, 517),
  (1000, 60),
  (1400, 1100),
  (43, 42),
]
FILES = picture_zoo.files()
MODES = ["RGB", "RGBA", "L", "P", "LA", "1", "CMYK", "I;16"]


def image(height, width, mode="RGB", seed=0):
  array = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
  if mode == "I;16":
    return Image.fromarray(array[..., 0].astype(np.uint16))
  return Image.fromarray(array).convert(mode) if mode != "RGBA" else Image.fromarray(array)


def ours(source, min_pixels, max_pixels):
  picture = media.picture(source, name="x")
  size = pixels.smart_resize(
    picture.height, picture.width, factor=28, min_pixels=min_pixels, max_pixels=max_pixels
  )
  numbers = pixels.table(rescale=1 / 255, mean=MEAN, std=STD)
  frames = pixels.resize([picture], size, 3)
  bytes_P3I = pixels.patches(frames, patch=14, merge=2, temporal=2).reshape(-1, 3, 2 * 14 * 14)
  seen = [table.take(bytes_P3I[:, channel]) for channel, table in enumerate(numbers)]
  return (1, size[0] // 14, size[1] // 14), np.stack(seen, axis=1).reshape(len(bytes_P3I), -1)


@pytest.fixture(scope="module")
def theirs():
  module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")

  def run(source, min_pixels, max_pixels):
    processor = module.Qwen2VLImageProcessorPil(min_pixels=min_pixels, max_pixels=max_pixels)
    out = processor(images=[source], return_tensors="np")
    return tuple(out["image_grid_thw"][0].tolist()), out["pixel_values"]

  return run


def agree(theirs, source, min_pixels, max_pixels):
  want_grid, want = theirs(source, min_pixels, max_pixels)
  grid, got = ours(source, min_pixels, max_pixels)
  assert grid == want_grid
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bounds", [(3136, 28 * 28 * 1280), (784, 28 * 28 * 4), (60_000, 60_000)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_grids_and_pixels_of_every_size_agree(theirs, size, bounds):
  agree(theirs, image(*size), *bounds)


@pytest.mark.parametrize("mode", MODES)
def test_grids_and_pixels_of_every_mode_agree(theirs, mode):
  agree(theirs, image(90, 130, mode), 3136, 200_000)


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_become_the_patches_of_transformers(theirs, name):
  upright = ImageOps.exif_transpose(picture_zoo.opened(FILES[name]))
  if max(upright.size) > 200 * min(upright.size):
    for run in (lambda: theirs(upright, 3136, 200_000), lambda: ours(FILES[name], 3136, 200_000)):
      with pytest.raises(ValueError, match="200"):
        run()
    return
  want_grid, want = theirs(upright, 3136, 200_000)
  grid, got = ours(FILES[name], 3136, 200_000)
  assert grid == want_grid
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_two_frames_share_a_patch_and_an_odd_one_is_repeated():
  frames = np.zeros((3, 28, 28, 3), np.uint8)
  frames[:] = np.arange(1, 4, dtype=np.uint8)[:, None, None, None]
  got = pixels.patches(frames, patch=14, merge=2, temporal=2)
  assert got.shape == (2 * 4, 3 * 2 * 14 * 14)
  first_last = got.reshape(2, 4, 3, 2, 196)[:, :, :, :, 0]
  assert (first_last[0, :, :, 0] == 1).all() and (first_last[0, :, :, 1] == 2).all()
  assert (first_last[1] == 3).all()


def test_a_wide_picture_is_bounded_and_too_wide_is_an_error():
  bounds = dict(factor=28, min_pixels=3136, max_pixels=1_003_520)
  height, width = pixels.smart_resize(150, 20_000, **bounds)
  assert height * width <= 1_003_520 and height % 28 == width % 28 == 0
  with pytest.raises(ValueError, match="20,000x99 pixels is over 200 times"):
    pixels.smart_resize(99, 20_000, **bounds)


def test_a_side_has_at_least_one_patch():
  assert pixels.smart_resize(10, 2000, factor=28, min_pixels=0, max_pixels=10**6)[0] == 28
