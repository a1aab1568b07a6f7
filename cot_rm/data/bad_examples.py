"""Examples that a stage leaves out: counted, written down, and bounded by a knob."""

import collections
import json
import os
import pathlib
import threading
from collections.abc import Iterable, Mapping, Sequence

from cot_rm.schema import BadExample, BadMedia, BadRecord

KNOB = "config.data.max_bad"
SHOWN = 20  # reasons in an error message, at most


class TooManyBad(ValueError):
  """More bad examples than the knob allows. It is about a data set and ends the run."""


class Skips:
  """The examples of a stage that were left out, each once by its id.

      skips = Skips(folder, limit=config.data.max_bad)
      try:
        encoded = encode(example)
      except schema.BadExample as error:
        skips.add(example.id, error)

  `add` may be called by several threads. Each line of <folder>/skipped.jsonl is {"id", "reason"};
  it has all examples that were ever left out in this folder, the counts have those of this run and
  of the runs that it continues (`get_state`, `set_state`).

  Args:
    folder: of the stage; made with the first line.
    limit: examples that may be left out; one more raises.
    process_index: of this process. Each process counts its own part of the data; processes other
      than the first write into skipped.<index>.jsonl.
  """

  def __init__(self, folder: str | os.PathLike[str], *, limit: int, process_index: int = 0):
    if limit < 0:
      raise ValueError(f"{KNOB} is {limit}; it must be 0 or more")
    name = f"skipped.{process_index}.jsonl" if process_index else "skipped.jsonl"
    self.path = pathlib.Path(folder) / name
    self.limit = limit
    self._bad: dict[str, tuple[str, str]] = {}  # {id: (kind, reason)}
    self._lock = threading.Lock()
    self._written = _read_lines(self.path)

  def __len__(self) -> int:
    return len(self._bad)

  def __contains__(self, id: str) -> bool:
    return id in self._bad

  @property
  def kinds(self) -> Mapping[str, int]:
    """{kind of fault ("record", "media", "example"): number of examples}."""
    return collections.Counter(kind for kind, _ in self._bad.values())

  def add(self, id: str, error: BadExample | str) -> None:
    """Counts an example that is left out; a second time the same id counts no more.

    Args:
      id: of the example.
      error: what is wrong with it: the error, or its words from an earlier run.

    Raises:
      TooManyBad: these are more than the limit.
    """
    with self._lock:
      if id in self._bad:
        return
      self._bad[id] = kind_of(error), str(error)
      self._write(id, str(error))
    self._check()

  def metrics(self) -> dict[str, float]:
    """{"data/skipped": number of examples left out}; empty as long as none was."""
    return {"data/skipped": float(len(self))} if self._bad else {}

  def figures(self) -> dict[str, int] | None:
    """{"left_out": number} for the figures of a stage; None if nothing was left out."""
    return {"left_out": len(self)} if self._bad else None

  def get_state(self) -> list[list[str]]:
    """What has been left out so far, for JSON in a checkpoint."""
    with self._lock:
      return [[id, kind, reason] for id, (kind, reason) in self._bad.items()]

  def set_state(self, state: Sequence[Sequence[str]]) -> None:
    """Continues from a state. Raises TooManyBad if it has more than the limit of today."""
    with self._lock:
      self._bad = {id: (kind, reason) for id, kind, reason in state}
    self._check()

  def _check(self) -> None:
    if len(self) > self.limit:
      raise too_many([reason for _, reason in self._bad.values()], self.limit)

  def _write(self, id: str, reason: str) -> None:
    line = json.dumps({"id": id, "reason": reason})
    if line in self._written:
      return
    self._written.add(line)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    with self.path.open("a") as file:
      file.write(f"{line}\n")


def too_many(reasons: Sequence[str], limit: int, *, of: int | None = None) -> TooManyBad:
  """The error of a data set with more bad examples than `limit`: the number, the first ones, the
  knob.

  Args:
    reasons: what is wrong with each bad example; begins with the example's name.
    limit: bad examples that are allowed.
    of: examples that were looked at; None: not known.
  """
  shown = [f"  {reason}" for reason in reasons[:SHOWN]]
  if len(reasons) > SHOWN:
    shown.append(f"  and {len(reasons) - SHOWN:,} more")
  total = "" if of is None else f" of {of:,}"
  if of == len(reasons):
    begin, end = f"none of {of:,} examples can be used:", "mend them, or give other data"
  else:
    begin = f"{len(reasons):,}{total} examples cannot be used, and {KNOB} allows {limit:,}:"
    end = f"mend or remove them, or set {KNOB}={len(reasons)} to leave them out"
  return TooManyBad("\n".join([begin, *shown, end]))


def kind_of(error: BadExample | str) -> str:
  """The kind of a fault: "record", "media" or "example" (a text, a length, or not known)."""
  if isinstance(error, BadRecord):
    return "record"
  return "media" if isinstance(error, BadMedia) else "example"


def _read_lines(path: pathlib.Path) -> set[str]:
  return set(path.read_text().splitlines()) if path.exists() else set()


def describe(kinds: Mapping[str, int] | Iterable[str]) -> str:
  """Counts in words: "2 media, 1 record"; "" without any."""
  counts = collections.Counter(kinds)
  return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
