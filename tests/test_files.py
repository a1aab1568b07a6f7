"""A file appears under its name only when it is complete, and is told from others by content."""

import os
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


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
  for size in (0, 10, files.FULL.limit, files.FULL.limit + 1, 3 << 20):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    os.utime(tmp_path / "file", ns=(size, size))
    for rule in (files.FULL, files.QUICK):
      assert files.content_hash(tmp_path / "file", rule) == files.bytes_hash(content, rule)


@pytest.mark.parametrize("place", [0, 8191, -8192, -1])
def test_a_byte_at_either_end_of_a_large_content_changes_its_hash(place):
  content = bytearray(8 << 20)
  before = files.bytes_hash(content)
  content[place] = 1
  assert files.bytes_hash(content) != before
  assert files.bytes_hash(content + b"x") != files.bytes_hash(content)


def test_a_large_file_is_read_in_blocks(tmp_path):
  path = tmp_path / "file"
  with open(path, "wb") as file:
    file.truncate(1 << 40)  # no read of all of it would end
  assert files.content_hash(path) != files.content_hash(path, files.QUICK)


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
  path = tmp_path / "file"
  path.write_text("one")
  before = files.content_hash(path)
  monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("it is read again"))
  assert files.content_hash(path) == before
  monkeypatch.undo()
  path.write_text("two")
  os.utime(path, ns=(1, 1))
  assert files.content_hash(path) != before


def test_a_digest_depends_on_where_its_parts_end():
  assert files.digest(b"ab", b"c") != files.digest(b"a", b"bc") != files.digest(b"abc")
