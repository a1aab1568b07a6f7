"""Every answer that was paid for, on disk: a call that is in it is never made again."""

import hashlib
import json
import pathlib
import sqlite3

from cot_rm.chat import budget, replies

SPARE = 4 << 20  # bytes kept free for the answers that are in flight when the disk runs full
_TABLE = """
create table if not exists calls (
  key text primary key,  -- of `key`
  model text not null,
  text text,
  error text,
  prompt_tokens integer not null,
  completion_tokens integer not null
)
"""


def key(model, messages, sampling):
  """The name of a call: sha256 of the model, the chat as sent and how it is sampled.

  Args:
    sampling: {name: number}, the number of the attempt among them.
  """
  call = {"model": model, "messages": messages, **sampling}
  return hashlib.sha256(json.dumps(call, sort_keys=True).encode()).hexdigest()


class Cache:
  """An sqlite file of Replies; to be used from one thread at a time.

  What was put into it survives the end of the process at any moment. Two runs may share a file.
  """

  def __init__(self, path):
    self._path = pathlib.Path(path)
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._spare = self._path.with_name(f"{self._path.name}.spare")
    try:
      # isolation_level None: each answer is a transaction of its own.
      self._file = sqlite3.connect(
        self._path, timeout=60, isolation_level=None, check_same_thread=False
      )
      self._file.execute("pragma journal_mode = wal")
      self._file.execute("pragma synchronous = normal")
      self._file.execute(_TABLE)
      self._spare.write_bytes(bytes(SPARE))
    except (sqlite3.Error, OSError) as error:
      raise replies.Stopped(
        f"{self._path} cannot keep answers: {error}; it must be a file of this program on a local "
        f"disk with {SPARE >> 20} MB free"
      ) from error

  def get(self, name):
    """The Reply of this name, or None."""
    row = self._file.execute(
      "select text, error, prompt_tokens, completion_tokens from calls where key = ?", (name,)
    ).fetchone()
    return row and replies.Reply(*row, cached=True)

  def put(self, name, model, reply):
    """Keeps a Reply under its name.

    Raises Stopped where the disk is full, the answer being kept in the room held free for it.
    """
    row = (name, model, reply.text, reply.error, reply.prompt_tokens, reply.completion_tokens)
    insert = lambda: self._file.execute("insert or replace into calls values (?,?,?,?,?,?)", row)
    try:
      insert()
    except sqlite3.Error as error:
      kept = "nothing is lost"
      self._spare.unlink(missing_ok=True)
      try:
        insert()
      except sqlite3.Error:
        kept = "the last answer could not be kept"
      raise replies.Stopped(
        f"{self._path}: {error}; {kept}. Where the disk is full make room, and run the same "
        "command again"
      ) from error

  def spent(self):
    """What all the answers in the file have cost."""
    sums = "count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)"
    return budget.Spent(*self._file.execute(f"select {sums} from calls").fetchone())

  def close(self):
    self._file.close()
    self._spare.unlink(missing_ok=True)
