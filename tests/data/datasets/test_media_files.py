"""Where media are looked for, in which order, and what a value of a record may be."""

import base64
import pathlib

import pytest

from cot_rm.data.datasets import media_files
from cot_rm.schema import BadMedia, BadRecord

PNG = base64.b64decode(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def files(tmp_path):
  return media_files.MediaFiles(tmp_path / "set" / "data" / "train.json", [tmp_path / "given"])


def make(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(PNG)
  return str(path)


def test_the_places_of_a_medium_in_their_order(tmp_path, files):
  places = [
    "set/images/a.png",  # above the data file, in a usual folder
    "set/a.png",
    "set/data/images/a.png",
    "set/data/train/a.png",  # in the folder of the file's name
    "set/data/a.png",
    "given/a.png",
  ]
  for place in places:  # each one is preferred to those before it
    made = make(tmp_path / place)
    assert media_files.MediaFiles(files.file, [tmp_path / "given"]).find("a.png", "w") == made


def test_an_absolute_path_of_another_machine_is_found_by_its_end(tmp_path, files):
  make(tmp_path / "set" / "images" / "short" / "a.png")
  name = "/mnt/nobody/has/short/a.png"
  assert files.find(name, "w").endswith("set/images/short/a.png")
  there = make(tmp_path / "elsewhere.png")
  assert files.find(there, "w") == there


def test_a_relative_path_is_not_cut_but_for_a_usual_folder(tmp_path, files):
  make(tmp_path / "set" / "data" / "a.png")
  assert files.find("images/a.png", "w").endswith("set/data/a.png")
  with pytest.raises(BadMedia, match="train.json, record 1: no such file: .*other/a.png"):
    files.find("other/a.png", "train.json, record 1")


def test_a_picture_may_be_bytes_base64_a_url_or_a_path(tmp_path, files):
  made = make(tmp_path / "set" / "data" / "a.png")
  picture = lambda value: media_files.picture(value, files, "w")
  assert picture(PNG) == picture({"bytes": PNG, "path": "x.png"}) == picture([PNG]) == PNG
  text = base64.b64encode(PNG).decode()
  assert picture(text) == picture(text[:40] + "\n" + text[40:]) == PNG
  assert picture("a.png") == picture({"bytes": None, "path": "a.png"}) == made
  for record in ({"base64": text}, {"data": text}, {"image_url": {"url": made}}):
    assert picture(record) in (PNG, made)
  spaced = make(tmp_path / "set" / "data" / "a b.png")
  assert picture("file://" + made) == picture(f"FILE://localhost{made}") == made
  assert picture(pathlib.Path(spaced).as_uri()) == spaced
  for url in ("https://x/a.png", f"data:image/png;base64,{text}"):
    assert picture(url) == url
  for wrong in (None, "", {}, {"bytes": None, "path": None}, 5, [], True, "a\0b"):
    with pytest.raises(BadRecord, match="^w"):
      picture(wrong)


def test_a_video_may_lack_its_suffix_or_be_its_frames(tmp_path, files):
  for name in ("clip.mp4", "frames/taken/0.jpg"):
    make(tmp_path / "set" / "data" / name)
  video = lambda value: media_files.video(value, files, "w")
  assert video("clip").endswith("data/clip.mp4") and video("clip.mp4").endswith("data/clip.mp4")
  assert video("taken.mp4").endswith("frames/taken") and video("taken").endswith("frames/taken")
  assert video(["clip.mp4"]).endswith("clip.mp4") and video(b"x") == b"x"
  assert [pathlib.Path(f).name for f in video(["frames/taken/0.jpg"] * 2)] == ["0.jpg"] * 2
  with pytest.raises(BadMedia, match="w: no such file: .*gone.mp4"):
    video("gone.mp4")
  for wrong in (None, "", {}, 5, []):
    with pytest.raises(BadRecord, match="^w"):
      video(wrong)


def test_without_files_nothing_is_looked_for():
  assert media_files.picture("gone.png", None, "w") == "gone.png"
  assert media_files.video("gone.mp4", None, "w") == "gone.mp4"
