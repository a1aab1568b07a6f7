"""A machine out of files or with a broken disk is no fault of the example that is opened."""

import builtins
import errno
import io
import pathlib
import urllib.error
import urllib.request

import pytest
from PIL import Image

from cot_rm import media
from cot_rm.media import machine_errors
from tests.media import media_files

FULL = OSError(errno.EMFILE, "Too many open files")


def fails(*_, **__):
  raise FULL


@pytest.fixture
def sources(tmp_path):
  frames = [Image.new("RGB", (32, 32), (40 * i, 0, 0)) for i in range(3)]
  frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
  media_files.write_video(tmp_path / "a.mp4", media_files.moving(), 10)
  (tmp_path / "folder").mkdir()
  return {name: tmp_path / name for name in ("a.gif", "a.mp4", "folder")}


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "folder"])
def test_a_video_that_cannot_be_opened_for_want_of_files_is_no_bad_example(
  sources, name, monkeypatch
):
  monkeypatch.setattr(pathlib.Path, "open", fails)
  monkeypatch.setattr(pathlib.Path, "iterdir", fails)
  with pytest.raises(OSError) as caught:
    media.video(sources[name], name="example 'a'")
  assert caught.value is FULL


def test_a_video_file_whose_decoder_finds_no_file_handle_is_no_bad_example(sources, monkeypatch):
  av = pytest.importorskip("av")
  monkeypatch.setattr(av, "open", fails)
  with pytest.raises(OSError) as caught:
    media.video(sources["a.mp4"], name="example 'a'")
  assert caught.value is FULL


def test_a_disk_that_breaks_within_an_animation_does_not_shorten_it(sources, monkeypatch):
  broken = OSError(errno.EIO, "Input/output error")

  def seek(_, frame):
    if frame == 2:
      raise broken

  monkeypatch.setattr("PIL.GifImagePlugin.GifImageFile.seek", seek)
  with pytest.raises(OSError) as caught:
    media.video(sources["a.gif"], name="example 'a'")
  assert caught.value is broken


def test_a_url_for_which_no_socket_is_left_is_no_bad_example(monkeypatch):
  def urlopen(*_, **__):
    raise urllib.error.URLError(FULL)

  monkeypatch.setattr(urllib.request, "urlopen", urlopen)
  with pytest.raises(urllib.error.URLError):
    media.picture("http://x/a.png", name="example 'a'", options=media.Options(http=True))


def test_errors_of_files_are_none_of_the_machine():
  with pytest.raises(FileNotFoundError) as caught:
    builtins.open("/nowhere/a.png")
  assert not machine_errors.is_of_machine(caught.value)
  with pytest.raises(OSError) as caught:
    Image.open(io.BytesIO(b"no picture"))
  assert not machine_errors.is_of_machine(caught.value)
  assert machine_errors.is_of_machine(OSError(errno.EIO, "x"))
  assert not machine_errors.is_of_machine(OSError(errno.EIO, "x"), machine_errors.OPEN_FILES)
