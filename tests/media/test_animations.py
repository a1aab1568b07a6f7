"""Animated pictures are videos."""

import io

import numpy as np
import pytest
from PIL import Image

from cot_rm import media, schema
from tests.media.media_files import NAME, encoded, moving


def animation(kind, count=6, **settings):
  first, *rest = (Image.fromarray(frame) for frame in moving(count))
  return encoded(first, kind, save_all=True, append_images=rest, **settings)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture_is_a_video_of_its_average_rate(kind, tmp_path):
  data = animation(kind, duration=[100, 100, 100, 300, 100, 100])
  (tmp_path / "clip").write_bytes(data)
  for source in (data, tmp_path / "clip"):
    video = media.video(source, name=NAME)
    assert (video.count, video.fps, video.is_file) == (6, 7.5, True)
    assert video.sizes([0]) == {(64, 48)}
    for number, got in zip([1, 4], video.read([1, 4]), strict=True):
      difference = np.abs(np.asarray(got).astype(int) - moving(6)[number])
      assert difference.mean() < 8


def test_a_still_picture_is_a_video_of_one_frame_without_a_rate():
  video = media.video(encoded(Image.fromarray(moving(1)[0])), name=NAME)
  assert (video.count, video.fps) == (1, None)


def test_the_frames_before_the_damage_count():
  data = animation("GIF")
  video = media.video(data[: len(data) // 2], name=NAME)
  assert 1 < video.count < 6
  assert len([*video.read(range(video.count))]) == video.count


def test_a_damaged_animation_names_its_sample():
  with pytest.raises(schema.BadMedia, match=NAME):
    media.video(animation("GIF")[:20], name=NAME)


def test_transparency_is_over_white():
  out = io.BytesIO()
  clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
  clear.save(out, "WEBP", save_all=True, append_images=[clear.copy()], lossless=True)
  [got] = media.video(out.getvalue(), name=NAME).read([0])
  assert got.getpixel((0, 0)) == (255, 255, 255)


def test_the_still_picture_before_an_animation_is_no_frame():
  still, *rest = (Image.fromarray(frame) for frame in moving(5))
  data = encoded(still, "PNG", save_all=True, append_images=rest, duration=250, default_image=True)
  video = media.video(data, name=NAME)
  assert (video.count, video.fps) == (4, 4)
  for number, got in enumerate(video.read(range(4))):
    np.testing.assert_array_equal(np.asarray(got), moving(5)[number + 1])
  np.testing.assert_array_equal(np.asarray(media.picture(data, name=NAME)), moving(5)[0])
