"""Answer cache on disk (sqlite): a call whose answer is in the cache is never made again."""

import hashlib
import json
import os
import pathlib
import sqlite3
from collections.abc import Mapping

from cot_rm.chat import budget, replies
from cot_rm.schema import Chat

RESERVE_BYTES = 4 << 20  # disk space reserved for the answers in flight when the disk is full
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


def key(model: str, messages: Chat, sampling: Mapping[str, int | float | None]) -> str:
  """Cache key of a call: sha256 of the JSON of the model, the messages and the sampling settings.

  Paid answers are stored under these keys: what goes into the JSON must not change.

  Args:
    model: the service's name of the model.
    messages: as sent, pictures encoded; see pictures.openai_messages.
    sampling: {name of a setting: value}, the fields of client.Sampling.
  """
  call = {"model": model, "messages": messages, **sampling}
  return hashlib.sha256(json.dumps(call, sort_keys=True).encode()).hexdigest()


class Cache:
  """An sqlite file of Replies; to be used by one thread at a time.

  An answer that was put is on disk even if the process is killed right after. Several processes may
  share a file.

  Args:
    path: of the file; its folder is made.

  Raises:
    Stopped: the file is no sqlite database, or the disk is full.
  """

  def __init__(self, path: str | os.PathLike[str]):
    self._path = pathlib.Path(path)
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._reserve = self._path.with_name(f"{self._path.name}.spare")
    try:
      # isolation_level None: each answer is a transaction of its own.
      self._connection = sqlite3.connect(
        self._path, timeout=60, isolation_level=None, check_same_thread=False
      )
      self._connection.execute("pragma journal_mode = wal")
      self._connection.execute("pragma synchronous = normal")
      self._connection.execute(_TABLE)
      self._reserve.write_bytes(bytes(RESERVE_BYTES))
    except (sqlite3.Error, OSError) as error:
      raise replies.Stopped(
        f"{self._path} cannot be used as an answer cache: {error}; the path must be new or a cache "
        f"of cot_rm, on a local disk with {RESERVE_BYTES >> 20} MB free"
      ) from error

  def get(self, key: str) -> replies.Reply | None:
    """The Reply stored under a key, or None."""
    row = self._connection.execute(
      "select text, error, prompt_tokens, completion_tokens from calls where key = ?", (key,)
    ).fetchone()
    return replies.Reply(*row, cached=True) if row else None

  def put(self, key: str, model: str, reply: replies.Reply) -> None:
    """Stores a Reply under its key.

    Raises Stopped on a full disk. The reserved space is then given free and the Reply stored in it.
    """
    row = (key, model, reply.text, reply.error, reply.prompt_tokens, reply.completion_tokens)
    try:
      self._insert(row)
    except sqlite3.Error as error:
      outcome = "no answer is lost"
      self._reserve.unlink(missing_ok=True)
      try:
        self._insert(row)
      except sqlite3.Error:
        outcome = "the last answer could not be stored"
      raise replies.Stopped(
        f"{self._path}: {error}; {outcome}. If the disk is full, free some space; then run the "
        "same command again"
      ) from error

  def _insert(self, row: tuple) -> None:
    self._connection.execute("insert or replace into calls values (?,?,?,?,?,?)", row)

  def usage(self) -> budget.Usage:
    """Calls and tokens of all answers in the file."""
    sums = "count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)"
    return budget.Usage(*self._connection.execute(f"select {sums} from calls").fetchone())

  def close(self) -> None:
    """Closes the file and frees the reserved space."""
    self._connection.close()
    self._reserve.unlink(missing_ok=True)
