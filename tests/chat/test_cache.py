"""The cache keeps what was paid for, through a kill and on a full disk."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cot_rm.chat import budget, cache, replies

ROOT = Path(__file__).resolve().parents[2]
CHAT = [{"role": "user", "content": "which?"}]
HOW = {"attempt": 1, "temperature": 0.0, "max_tokens": 5, "seed": None}


class FullDisk:
  """A connection to a disk that is full for as long as the spare file is there."""

  def __init__(self, connection, spare):
    self._connection, self._spare = connection, spare

  def execute(self, command, *values):
    if command.startswith("insert") and self._spare():
      raise sqlite3.OperationalError("database or disk is full")
    return self._connection.execute(command, *values)

  def close(self):
    self._connection.close()


def test_what_is_put_is_got_and_counted(tmp_path):
  path = tmp_path / "some" / "calls.sqlite"
  kept = cache.Cache(path)
  assert kept.get("a") is None and kept.spent() == budget.Spent()
  kept.put("a", "m", replies.Reply("text", None, 10, 5))
  kept.put("b", "m", replies.Reply(None, "refused: no", 7, 1))
  kept.close()
  again = cache.Cache(path)
  assert again.get("a") == replies.Reply("text", None, 10, 5, cached=True)
  assert again.get("b") == replies.Reply(None, "refused: no", 7, 1, cached=True)
  assert again.spent() == budget.Spent(2, 17, 6)
  again.close()
  assert not list(path.parent.glob("*.spare"))


def test_every_part_of_a_call_is_in_its_name():
  names = {
    cache.key("m", CHAT, HOW),
    cache.key("n", CHAT, HOW),
    cache.key("m", [{"role": "user", "content": "which"}], HOW),
    *(cache.key("m", CHAT, HOW | {knob: 2}) for knob in HOW),
  }
  assert len(names) == 3 + len(HOW)
  # sha256 of the JSON written by hand.
  assert cache.key("m", [], {}) == (hashlib.sha256(b'{"messages": [], "model": "m"}').hexdigest())


def test_what_was_put_is_there_after_a_kill(tmp_path):
  path = tmp_path / "calls.sqlite"
  code = (
    "import os, signal\n"
    "from cot_rm.chat import cache, replies\n"
    f"kept = cache.Cache({str(path)!r})\n"
    "kept.put('a', 'm', replies.Reply('text'))\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
  )
  env = dict(os.environ, PYTHONPATH=str(ROOT))
  done = subprocess.run([sys.executable, "-c", code], env=env, check=False)
  assert done.returncode == -signal.SIGKILL
  again = cache.Cache(path)
  assert again.get("a").text == "text"
  again.close()


def test_on_a_full_disk_the_answers_in_flight_are_kept_and_the_error_is_clear(tmp_path):
  path = tmp_path / "calls.sqlite"
  spare = path.with_name("calls.sqlite.spare")
  kept = cache.Cache(path)
  kept._file = FullDisk(kept._file, spare.exists)
  with pytest.raises(replies.Stopped, match="disk is full; nothing is lost. .* make room"):
    kept.put("a", "m", replies.Reply("one"))
  kept.put("b", "m", replies.Reply("two"))  # was in flight: into the room that became free
  kept.close()
  again = cache.Cache(path)
  assert again.get("a").text == "one" and again.get("b").text == "two"
  again.close()


def test_a_disk_without_any_room_says_that_the_answer_is_not_kept(tmp_path):
  kept = cache.Cache(tmp_path / "calls.sqlite")
  kept._file = FullDisk(kept._file, lambda: True)
  with pytest.raises(replies.Stopped, match="the last answer could not be kept"):
    kept.put("a", "m", replies.Reply("one"))
  kept.close()


def test_a_file_that_is_no_cache_is_named(tmp_path):
  path = tmp_path / "calls.sqlite"
  path.write_text("something else, long enough to be taken for a header " * 9)
  with pytest.raises(replies.Stopped, match="calls.sqlite cannot keep answers"):
    cache.Cache(path)


def test_two_runs_share_a_file(tmp_path):
  one, other = cache.Cache(tmp_path / "calls.sqlite"), cache.Cache(tmp_path / "calls.sqlite")
  one.put("a", "m", replies.Reply("text"))
  other.put("a", "m", replies.Reply("text"))
  assert other.get("a").text == "text" and one.spent().calls == 1
  one.close()
  other.close()
