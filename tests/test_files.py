"""A file appears under its name only when it is complete."""

import pathlib

import pytest
from etils import epath

from cot_rm import files


@pytest.mark.parametrize("kind", [str, pathlib.Path, epath.Path])
def test_text_and_bytes_are_written_and_folders_made(tmp_path, kind):
  files.write_atomic(kind(tmp_path / "a" / "text"), "größer\n")
  files.write_atomic(kind(tmp_path / "a" / "bytes"), b"\x00\xff")
  assert (tmp_path / "a" / "text").read_bytes() == "größer\n".encode()
  assert (tmp_path / "a" / "bytes").read_bytes() == b"\x00\xff"
  assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["bytes", "text"]


def test_an_error_half_way_leaves_the_old_file_and_no_other(tmp_path):
  path = tmp_path / "file"
  path.write_text("old")
  with pytest.raises(RuntimeError), files.replacing(path) as part:
    part.write_text("ne")
    raise RuntimeError
  assert path.read_text() == "old"
  assert [*tmp_path.iterdir()] == [path]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
  path = tmp_path / "file"
  path.write_text("old")
  with files.replacing(path) as part:
    part.write_text("new")
    assert path.read_text() == "old"
  assert path.read_text() == "new"
