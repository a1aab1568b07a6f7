"""The decoder of a file is found by its bytes; its errors are about the picture."""

import errno
import sys

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.media import decoders
from cot_rm.schema import BadMedia
from tests.media import picture_zoo
from tests.media.media_files import NAME, colours, encode_video, encoded, moving


@pytest.mark.parametrize("error", [RuntimeError("x"), MemoryError(), SyntaxError("x"), KeyError(1)])
def test_whatever_a_decoder_raises_is_about_the_picture(error):
  with pytest.raises(BadMedia, match=f"{NAME}: a picture is damaged: "):
    with decoders.blamed("a picture", NAME, "is damaged"):
      raise error


def test_a_fault_of_the_machine_is_no_fault_of_the_picture():
  with pytest.raises(OSError, match="too many") as caught:
    with decoders.blamed("a picture", NAME, "is damaged"):
      raise OSError(errno.EMFILE, "too many open files")
  assert not isinstance(caught.value, BadMedia)


def test_a_picture_under_a_wrong_name_opens_by_its_bytes(tmp_path):
  (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (4, 4), "red"), "JPEG"))
  assert media.picture(tmp_path / "a.png", name=NAME).size == (4, 4)


@pytest.mark.parametrize(
  "container, codec", [("mp4", "libx264"), ("matroska", "ffv1"), ("avi", "mpeg4")]
)
def test_a_video_in_place_of_a_picture_is_said(container, codec):
  data = encode_video(None, moving(3), container=container, codec=codec)
  with pytest.raises(BadMedia, match=f"{NAME}: .*it is a video: give it as one"):
    media.picture(data, name=NAME)


def test_heic_opens_with_its_extra():
  pillow_heif = pytest.importorskip("pillow_heif")
  array = np.full((64, 48, 3), (200, 40, 40), np.uint8)
  data = picture_zoo.heic(array)
  image = media.picture(data, name=NAME)
  assert media.picture_size(data, name=NAME) == image.size == (48, 64)
  assert np.abs(np.asarray(image).astype(int) - array).max() < 8
  theirs = pillow_heif.open_heif(data).to_pillow()
  np.testing.assert_array_equal(np.asarray(image), np.asarray(theirs))


def test_a_heic_file_of_another_size_than_its_header_states_is_bad_media():
  pytest.importorskip("pillow_heif")
  data = picture_zoo.heic(colours(64, 48))
  at = data.index(b"ispe") + 8  # the width
  with pytest.raises(BadMedia, match="its header states|is damaged|no readable"):
    media.picture(data[:at] + (40).to_bytes(4, "big") + data[at + 4 :], name=NAME)


def test_heic_without_its_extra_names_it(monkeypatch):
  pytest.importorskip("pillow_heif")
  data = picture_zoo.heic(colours(64, 48))
  monkeypatch.setitem(sys.modules, "pillow_heif", None)
  with pytest.raises(ImportError, match=rf"{NAME}: .*pip install 'cot_rm\[heic\]'"):
    media.picture(data, name=NAME)


def test_a_program_is_not_run():
  with pytest.raises(BadMedia, match="EPS files are not opened"):
    media.picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", name=NAME)
