"""An image or a video with an unknown kind or setting is refused where it is made."""

import pytest

from cot_rm.schema import Media


def test_an_unknown_kind_of_media_names_the_known_ones():
  with pytest.raises(ValueError, match="unknown kind 'picture'.*known: image, video"):
    Media("picture", "a.png")


def test_settings_of_a_medium_are_checked_by_name():
  Media("video", "clip.mp4", settings={"nframes": 8, "video_start": 0})
  with pytest.raises(ValueError, match="unknown setting 'nframe' of videos; did you mean"):
    Media("video", "clip.mp4", settings={"nframe": 8})
  with pytest.raises(ValueError, match="unknown setting 'nframes' of images"):
    Media("image", "a.png", settings={"nframes": 8})
  with pytest.raises(ValueError, match="max_pixels is 0; it must be a number above 0"):
    Media("image", "a.png", settings={"max_pixels": 0})
