"""Reads examples of any sources into one data set on disk: bounded memory, resumable, counted."""

import collections
import dataclasses
import functools
import glob
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, SupportsFloat, TypeVar

import numpy as np
from absl import logging

from cot_rm import files, prompts
from cot_rm.data import array_record, bad_examples, import_checks, import_seen
from cot_rm.schema import BadRecord, Example

DRAWN = "drawn"  # the split of validation examples until they are shuffled
NO_PAIR = "no pair: "  # before the reason, in the counts
SAMPLE = 32  # examples from whose sizes the size of the data set is estimated

Given, Made = TypeVar("Given"), TypeVar("Made")


class Progress(Protocol):
  """A progress bar, as metrics.bar makes it."""

  def advance(self, count: int = 1, **values: SupportsFloat | None) -> None:
    """Adds `count` examples, and shows values by name."""


Bar = AbstractContextManager[Progress]


class Source(NamedTuple):
  """Examples of one source."""

  name: str
  examples: Sequence[Example]
  bad: Sequence[str] = ()  # what is wrong with each record that is none of the examples
  no_pairs: Mapping[str, int] = {}  # {why a comparison is none of the examples: number}


@dataclasses.dataclass(frozen=True)
class Plan:
  """An import: what is read, how it is checked, and where it goes."""

  folder: pathlib.Path  # of the stage; the data set is its folder "data"
  sources: Sequence[Source]
  rules: import_checks.Rules
  grammar: prompts.Grammar
  processor: import_checks.Processor | None  # None: lengths are not checked
  val: float  # see import_seen.Validation
  seed: int
  threads: int = 4
  shard_bytes: int = array_record.SHARD_BYTES

  @property
  def total(self) -> int:
    """Examples of all sources."""
    return sum(len(source.examples) for source in self.sources)

  def examine(self, number: int) -> tuple[str, import_checks.Taken | import_checks.Left]:
    """(name of its source, the checked example) of the example with a number over all sources."""
    for name, examples, *_ in self.sources:
      if number < len(examples):
        read = functools.partial(examples.__getitem__, number)
        place = f"{name}, record {number}"
        return name, import_checks.examine(read, place, self.rules, self.grammar, self.processor)
      number -= len(examples)
    raise IndexError(number)


def run(
  plan: Plan,
  skips: bad_examples.Skips,
  conditions: Mapping[str, object],
  bar: Callable[[int, int], Bar],
) -> None:
  """Writes plan.folder/data with the splits "train" and "check", and figures.json beside it.

  figures.json is {"sources": {name: counts}, "splits": {split: examples}}. An import that was
  killed continues behind its last complete files, and ends as if it had not been. Under other
  conditions, or if an example that was left out is usable now, it begins again.

  Args:
    plan: the import.
    skips: counts and lists the examples that are left out.
    conditions: everything that the data set depends on, for JSON.
    bar: `(total, done) -> progress bar`, entered as a context.

  Raises:
    TooManyBad: see bad_examples.Skips.
    ValueError: nothing is left for a split.
  """
  with array_record.Writer(plan.folder / "data", shard_bytes=plan.shard_bytes) as writer:
    conditions = json.loads(json.dumps(conditions))
    if writer.state and (fault := _changed(plan, writer.state, conditions)):
      logging.warning("%s: %s: begins again", plan.folder, fault)
      writer.reset()
    run = _Import(plan, writer, skips, conditions)
    with bar(plan.total, run.next) as shown:
      began, before = time.monotonic(), run.size
      for name, checked in in_order(
        plan.examine, range(run.next, plan.total), threads=plan.threads
      ):
        run.take(name, checked)
        if writer.full:
          run.commit()
        rate = (run.size - before) / (time.monotonic() - began)
        shown.advance(left_out=len(skips), MB_per_s=rate / 1e6)
    run.finish()


def _changed(plan: Plan, state: Mapping[str, Any], conditions: Mapping[str, object]) -> str | None:
  """Why an import cannot continue from a state; None: it can."""
  if state["conditions"] != conditions:
    return "begun from other data or with other knobs"
  for number in state.get("left_out", ()):
    _, checked = plan.examine(number)
    if isinstance(checked, import_checks.Taken):
      return f"example {checked.id!r} was left out and is usable now"
  return None


class _Import:
  """The state of an import between two examples."""

  def __init__(
    self,
    plan: Plan,
    writer: array_record.Writer,
    skips: bad_examples.Skips,
    conditions: Mapping[str, object],
  ):
    state = writer.state or {"next": 0, "taken": 0, "left_out": [], "counts": {}, "skips": []}
    self._plan, self._writer, self._skips, self._conditions = plan, writer, skips, conditions
    self.next: int = state["next"]  # number of the next example over all sources
    self._taken: int = state["taken"]
    self._left_out: list[int] = state.get("left_out", [])  # numbers of examples that may be mended
    self._counts = {
      source.name: collections.Counter(state["counts"].get(source.name, {}))
      for source in plan.sources
    }
    skips.set_state(state["skips"])
    if not self.next:
      self._count_records()
    validation = import_seen.Validation(plan.val, total=plan.total, seed=plan.seed)
    self._seen = import_seen.Seen(plan.folder / "seen.bin", self._taken, validation)

  @property
  def size(self) -> int:
    """Bytes of the examples taken so far."""
    return sum(counts["bytes"] for counts in self._counts.values())

  def _count_records(self) -> None:
    """Counts the records that are no examples at all."""
    for source in self._plan.sources:
      counts = self._counts[source.name]
      counts.update({f"{NO_PAIR}{why}": number for why, number in source.no_pairs.items()})
      counts.update({"read": len(source.bad), "record": len(source.bad)} if source.bad else {})
      for fault in source.bad:
        self._skips.add(fault.partition(": ")[0], BadRecord(fault))

  def take(self, name: str, checked: import_checks.Taken | import_checks.Left) -> None:
    """Stores or counts the next example, of the source `name`."""
    counts, number = self._counts[name], self.next
    self.next += 1
    counts["read"] += 1
    if isinstance(checked, import_checks.Taken) and self._seen.has_id(checked.id):
      if self._seen.has_example(checked.stored):
        error = BadRecord(f"example {checked.id!r} comes again as record {number} of all sources")
        checked = import_checks.Left(f"{checked.id} ({number})", "repeated", error)
      else:  # another example: each source has names of its own
        checked = import_checks.renamed(checked, self._seen.free_id(checked.id))
        counts["renamed"] += 1
    if isinstance(checked, import_checks.Left):
      counts[checked.reason] += 1
      if checked.reason != "repeated":
        self._left_out.append(number)
      self._skips.add(checked.id, checked.error)
      return
    self._writer.add(DRAWN if self._seen.add(checked) else "train", checked.stored)
    counts["kept"] += 1
    counts["bytes"] += len(checked.stored.data)
    self._taken += 1

  def commit(self) -> None:
    """Makes what has been taken durable."""
    self._seen.save()
    self._writer.commit(
      {
        "next": self.next,
        "taken": self._taken,
        "left_out": self._left_out,
        "counts": self._counts,
        "skips": self._skips.get_state(),
        "conditions": self._conditions,
      }
    )

  def finish(self) -> None:
    """Shuffles the validation pairs, writes the figures, and gives the data set its name.

    Raises ValueError if there is no example to train on.
    """
    self.commit()
    writer, plan = self._writer, self._plan
    if DRAWN in writer.sizes and "train" in writer.sizes:
      # The first ones stand for all, where a stage takes a few.
      writer.shuffle(DRAWN, "check", seed=plan.seed)
    splits = {split: count for split, (count, _) in writer.sizes.items()}
    if "train" not in splits:
      where = " beside the validation pairs, set val to 0" if splits else ""
      raise ValueError(f"no example of {', '.join(self._counts)} is left{where}")
    figures = {"sources": self._counts, "splits": splits}
    files.write_atomic(plan.folder / "figures.json", json.dumps(figures, indent=2))
    writer.finish()
    (plan.folder / "seen.bin").unlink()


def missing_bytes(plan: Plan) -> int:
  """About how many bytes the import will still write, by a sample of the examples."""
  sizes = []
  for number in np.unique(np.linspace(0, plan.total - 1, SAMPLE).astype(int)).tolist():
    checked = plan.examine(number)[1]
    if isinstance(checked, import_checks.Taken):
      sizes.append(len(checked.stored.data))
  total = int(np.mean(sizes) * plan.total) if sizes else 0
  draft = array_record.draft_folder(plan.folder / "data")
  written = sum(path.stat().st_size for path in draft.glob("*")) if draft.is_dir() else 0
  return max(total - written, 0)


def in_order(
  function: Callable[[Given], Made], items: Iterable[Given], *, threads: int
) -> Iterator[Made]:
  """function(item) of each item, in order, computed by threads a little ahead of the reader."""
  pool = futures.ThreadPoolExecutor(threads)
  pending: collections.deque[futures.Future[Made]] = collections.deque()
  try:
    for item in items:
      pending.append(pool.submit(function, item))
      if len(pending) > threads:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)


def stamp(path: str | os.PathLike) -> str:
  """Changes when a file at the path, in the folder, or of the pattern changes; none is read."""
  text = os.fspath(path)
  found = [text] if os.path.exists(text) else sorted(glob.glob(text, recursive=True))
  every = [
    p for root in map(pathlib.Path, found) for p in ([root] if root.is_file() else root.rglob("*"))
  ]
  seen = sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in every if p.is_file())
  return files.digest(repr(seen).encode())
