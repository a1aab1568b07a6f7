"""Videos, in every way they are given; bad ones name their sample."""

import base64
import io
import sys

import numpy as np
import pytest
from PIL import Image

from cot_rm import media, schema
from tests.media.media_files import NAME, frames, write_video


def test_a_video_is_the_same_in_every_form(tmp_path):
  array = frames(12)
  folder = tmp_path / "clip"
  folder.mkdir()
  for i, frame in enumerate(array):
    Image.fromarray(frame).save(folder / f"frame_{i}.png")  # frame_10 comes after frame_9
  (folder / "notes.txt").write_text("no picture")
  np.save(tmp_path / "clip.npy", array)
  pictures = tuple(Image.fromarray(frame) for frame in array)
  for source in (array, folder, str(folder), tmp_path / "clip.npy", pictures, list(pictures)):
    video = media.video(source, fps=3, name=NAME)
    assert (video.count, video.fps) == (12, 3)
    got = [*video.read([0, 2, 10])]
    assert [picture.getpixel((0, 0))[0] for picture in got] == [0, 20, 100]
  assert media.video(array, name=NAME).fps is None


def test_a_video_file_says_its_rate(tmp_path):
  write_video(tmp_path / "clip.mp4", frames(9, 32, 48), 5)
  video = media.video(tmp_path / "clip.mp4", name=NAME)
  assert (video.count, video.fps) == (9, 5)
  got = [*video.read([0, 8])]
  assert got[0].size == (48, 32)
  assert abs(got[1].getpixel((20, 20))[0] - 80) < 8
  assert media.video(tmp_path / "clip.mp4", fps=1, name=NAME).fps == 5  # of the file


def test_a_damaged_video_file_names_the_sample(tmp_path):
  pytest.importorskip("av")
  (tmp_path / "clip.mp4").write_bytes(b"not a video at all" * 10)
  with pytest.raises(ValueError, match=f"{NAME}.*no readable video"):
    media.video(tmp_path / "clip.mp4", name=NAME)


def test_a_video_file_without_pyav_names_the_extra(tmp_path, monkeypatch):
  (tmp_path / "clip.mp4").write_bytes(b"x")
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(ImportError, match=r"cot_rm\[video\]"):
    media.video(tmp_path / "clip.mp4", name=NAME)


@pytest.mark.parametrize(
  "source, fps, words",
  [
    ((), None, "without frames"),
    ("no/such.mp4", None, "does not exist"),
    (np.zeros((2, 3, 3), np.uint8), None, "frames, height, width"),
    (np.zeros((0, 3, 3, 3), np.uint8), None, "frames, height, width"),
    (3.5, None, "cannot be a float"),
    (frames(), 0, "0 frames per second"),
  ],
)
def test_a_source_that_is_no_video_names_the_sample(source, fps, words):
  with pytest.raises(ValueError, match=words) as caught:
    media.video(source, fps=fps, name=NAME)
  assert NAME in str(caught.value)


def test_an_empty_folder_and_a_damaged_npy_name_the_sample(tmp_path):
  with pytest.raises(ValueError, match=f"{NAME}.*without frames"):
    media.video(tmp_path, name=NAME)
  (tmp_path / "a.npy").write_bytes(b"\x93NUMPY damaged")
  with pytest.raises(ValueError, match=f"{NAME}.*no readable .npy"):
    media.video(tmp_path / "a.npy", name=NAME)


def test_a_folder_without_frames_is_named_once(tmp_path):
  with pytest.raises(schema.BadMedia) as caught:
    media.video(tmp_path, name=NAME)
  assert str(caught.value).startswith(f"{NAME}: folder ") and str(caught.value).count(NAME) == 1


def test_a_bad_frame_says_which(tmp_path):
  video = media.video([Image.new("RGB", (4, 4)), b"bad"], name=NAME)
  with pytest.raises(ValueError, match=f"{NAME}: frame 1"):
    [*video.read([0, 1])]


def test_a_file_that_cannot_be_stored_names_the_sample(tmp_path):
  with pytest.raises(ValueError, match=f"{NAME}: picture '.*none.png' does not exist"):
    media.encoded_picture(tmp_path / "none.png", name=NAME)
  (tmp_path / "clip.mp4").write_bytes(b"x")
  with pytest.raises(ValueError, match=f"{NAME}: a video is stored frame by frame"):
    media.encoded_frames(tmp_path / "clip.mp4", name=NAME)


def test_a_video_file_may_be_given_in_every_way(tmp_path):
  write_video(tmp_path / "clip.mp4", frames(9, 32, 48), 5)
  data = (tmp_path / "clip.mp4").read_bytes()
  url = "data:video/mp4;base64," + base64.b64encode(data).decode()
  path = str(tmp_path / "clip.mp4")
  for source in (
    *(path, f"file://{path}", data, bytearray(data), url),
    *({"bytes": data, "path": None}, {"bytes": None, "path": path}),
    *(url.partition(",")[2], {"base64": url.partition(",")[2]}),
  ):
    video = media.video(source, name=NAME)
    assert (video.count, video.fps, video.is_file, video.sizes([0])) == (9, 5, True, {(48, 32)})
    assert media.video_bytes(source, name=NAME) == data
    assert media.frame_sources(source, name=NAME) is None
  with pytest.raises(schema.BadMedia, match="record of a video has none of bytes, base64"):
    media.video({"bytes": None}, name=NAME)


def test_given_frames_have_no_bytes_of_a_file(tmp_path):
  Image.fromarray(frames()[0]).save(tmp_path / "1.png")
  for source in (frames(), [Image.fromarray(frames()[0])], tmp_path):
    assert media.video_bytes(source, name=NAME) is None
    assert not media.video(source, name=NAME).is_file


def test_an_npy_file_may_be_given_as_bytes():
  out = io.BytesIO()
  np.save(out, frames(4))
  assert media.video(out.getvalue(), name=NAME).count == 4


def test_a_folder_of_frames_is_its_pictures_in_natural_order(tmp_path):
  names = [f"{i}.png" for i in (1, 2, 9, 10, 11, 12)]
  names += ["a2.JFIF", "a10.jpe", "a10.jpeg", "a010.png", "b\u00b2.avif"]
  for name in names[::-1] + ["notes.txt", ".DS_Store", "._1.png", "Thumbs.db"]:
    (tmp_path / name).write_bytes(b"")
  (tmp_path / "3.png").mkdir()
  want = [*names[:7], "a10.jpe", "a10.jpeg", "a010.png", names[-1]]
  assert [path.name for path in media.frame_sources(tmp_path, name=NAME)] == want
