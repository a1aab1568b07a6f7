"""The answer cache loses no paid answer: not in a kill, on a full disk, or by a new version."""

import dataclasses
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cot_rm.chat import budget, cache, client, pictures, replies

ROOT = Path(__file__).resolve().parents[2]
CHAT = [{"role": "user", "content": "which?"}]
SAMPLING = {"attempt": 1, "temperature": 0.0, "max_tokens": 5, "seed": None}


class FullDisk:
  """A connection to a disk that is full for as long as the spare file is there."""

  def __init__(self, connection, spare):
    self._connection, self._reserve = connection, spare

  def execute(self, command, *values):
    if command.startswith("insert") and self._reserve():
      raise sqlite3.OperationalError("database or disk is full")
    return self._connection.execute(command, *values)

  def close(self):
    self._connection.close()


def test_a_stored_reply_is_returned_and_its_tokens_are_counted(tmp_path):
  path = tmp_path / "some" / "calls.sqlite"
  store = cache.Cache(path)
  assert store.get("a") is None and store.usage() == budget.Usage()
  store.put("a", "m", replies.Reply("text", None, 10, 5))
  store.put("b", "m", replies.Reply(None, "refused: no", 7, 1))
  store.close()
  again = cache.Cache(path)
  assert again.get("a") == replies.Reply("text", None, 10, 5, cached=True)
  assert again.get("b") == replies.Reply(None, "refused: no", 7, 1, cached=True)
  assert again.usage() == budget.Usage(2, 17, 6)
  again.close()
  assert not list(path.parent.glob("*.spare"))


def test_every_setting_of_a_call_changes_its_key():
  keys = {
    cache.key("m", CHAT, SAMPLING),
    cache.key("n", CHAT, SAMPLING),
    cache.key("m", [{"role": "user", "content": "which"}], SAMPLING),
    *(cache.key("m", CHAT, SAMPLING | {knob: 2}) for knob in SAMPLING),
  }
  assert len(keys) == 3 + len(SAMPLING)
  # sha256 of the JSON written by hand.
  assert cache.key("m", [], {}) == (hashlib.sha256(b'{"messages": [], "model": "m"}').hexdigest())


@pytest.mark.parametrize(
  "sampling, key",
  [
    (
      client.Sampling(temperature=0.0, seed=None),
      "759fa0ed582451b3d1f240e70222c12e9df1af50f45366cc33246ccb7221deb6",
    ),
    (
      client.Sampling(attempt=2, temperature=0.7, max_tokens=512, seed=40),
      "71478c548fad4b9b8ad391fa3dd5a9b0bca2ec756628fc12c17eb25a6bde6682",
    ),
  ],
)
def test_keys_are_those_under_which_the_first_release_stored_paid_answers(sampling, key):
  """If this fails, every run that has paid for answers pays for them again."""
  messages = [
    {"role": "system", "content": "be fair"},
    {"role": "user", "content": [{"type": "text", "text": "which is better?"}]},
  ]
  sent = pictures.openai_messages(messages, pictures.Pictures(), name="x")
  assert cache.key("gpt-4o", sent, dataclasses.asdict(sampling)) == key


def test_a_cache_of_the_first_release_opens(tmp_path):
  path = tmp_path / "calls.sqlite"
  old = sqlite3.connect(path)
  old.execute(
    "create table calls (key text primary key, model text not null, text text, error text, "
    "prompt_tokens integer not null, completion_tokens integer not null)"
  )
  rows = [
    ("a", "gpt-4o", "text", None, 10, 5),
    ("b", "gpt-4o", None, "refused: content filter", 7, 1),
    ("c", "gpt-4o", None, "cut: after 9 tokens; raise max_tokens", 7, 9),
  ]
  old.executemany("insert into calls values (?,?,?,?,?,?)", rows)
  old.commit()
  old.close()
  store = cache.Cache(path)
  assert store.get("a") == replies.Reply("text", None, 10, 5, cached=True)
  assert [store.get(key).kind for key in "abc"] == ["", "refused", "cut"]
  assert store.usage() == budget.Usage(3, 24, 15)
  store.close()


def test_a_stored_reply_survives_a_kill(tmp_path):
  path = tmp_path / "calls.sqlite"
  code = (
    "import os, signal\n"
    "from cot_rm.chat import cache, replies\n"
    f"store = cache.Cache({str(path)!r})\n"
    "store.put('a', 'm', replies.Reply('text'))\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
  )
  env = dict(os.environ, PYTHONPATH=str(ROOT))
  done = subprocess.run([sys.executable, "-c", code], env=env, check=False)
  assert done.returncode == -signal.SIGKILL
  again = cache.Cache(path)
  assert again.get("a").text == "text"
  again.close()


def test_on_a_full_disk_the_answers_in_flight_are_stored_in_the_reserved_space(tmp_path):
  path = tmp_path / "calls.sqlite"
  spare = path.with_name("calls.sqlite.spare")
  store = cache.Cache(path)
  store._connection = FullDisk(store._connection, spare.exists)
  with pytest.raises(replies.Stopped, match="disk is full; no answer is lost. .* free some space"):
    store.put("a", "m", replies.Reply("one"))
  store.put("b", "m", replies.Reply("two"))  # was in flight: stored in the space that became free
  store.close()
  again = cache.Cache(path)
  assert again.get("a").text == "one" and again.get("b").text == "two"
  again.close()


def test_an_answer_that_cannot_be_stored_at_all_is_reported(tmp_path):
  store = cache.Cache(tmp_path / "calls.sqlite")
  store._connection = FullDisk(store._connection, lambda: True)
  with pytest.raises(replies.Stopped, match="the last answer could not be stored"):
    store.put("a", "m", replies.Reply("one"))
  store.close()


def test_a_file_that_is_no_cache_is_named(tmp_path):
  path = tmp_path / "calls.sqlite"
  path.write_text("something else, long enough to be taken for a header " * 9)
  with pytest.raises(replies.Stopped, match="calls.sqlite cannot be used as an answer cache"):
    cache.Cache(path)


def test_two_runs_share_a_file(tmp_path):
  one, other = cache.Cache(tmp_path / "calls.sqlite"), cache.Cache(tmp_path / "calls.sqlite")
  one.put("a", "m", replies.Reply("text"))
  other.put("a", "m", replies.Reply("text"))
  assert other.get("a").text == "text" and one.usage().calls == 1
  one.close()
  other.close()
