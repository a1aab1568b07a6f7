"""Metrics on disk (JSON lines and TensorBoard), progress bars, tables, timers."""

import collections
import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import SupportsFloat, SupportsInt

import jax
import rich.console
import rich.progress
import rich.table
import rich.text
import tensorboardX
from absl import logging
from etils import epath

from cot_rm import files

SPEED_MARKS = 4  # log lines over which a bar's speed is measured
LOG_EVERY = 10.0  # seconds between the log lines of a bar without a terminal

Curves = dict[str, tuple[list[int], list[float]]]  # {name of a metric: (steps, values)}


class Writer:
  """Writes metrics.jsonl, TensorBoard events (tb/) and samples/ in a folder, on process 0 alone.

  A resumed run appends, and may write a step again: `read` takes the later line.

  Args:
    folder: of the stage; it is made.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    self._file = self._board = None
    if jax.process_index() == 0:
      self._folder = folder = epath.Path(folder)
      folder.mkdir(parents=True, exist_ok=True)
      path = folder / "metrics.jsonl"
      # A killed run may have left half a line: end it, so that the next line is readable.
      torn = path.exists() and path.read_text()[-1:] not in ("", "\n")
      self._file = path.open("a")
      if torn:
        self._file.write("\n")
      self._board = tensorboardX.SummaryWriter(str(folder / "tb"))

  def write(self, step: SupportsInt, metrics: Mapping[str, SupportsFloat]) -> None:
    """Appends {"step": step, **metrics}; values that are not finite become null."""
    if self._file is None:
      return
    values = {name: float(value) for name, value in metrics.items()}
    line = {name: value if math.isfinite(value) else None for name, value in values.items()}
    self._file.write(json.dumps({"step": int(step), **line}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, int(step))

  def write_samples(self, step: SupportsInt, records: Iterable[Mapping[str, object]]) -> None:
    """Writes samples/<step>.jsonl, a record per line; the report shows the newest file.

    Args:
      step: training step.
      records: as report.sample_cards.card takes them.
    """
    if self._file is None:
      return
    path = self._folder / "samples" / f"{int(step):06d}.jsonl"
    files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in records))

  def close(self) -> None:
    """Closes the files. Later writes do nothing."""
    if self._file is not None:
      self._file.close()
      self._board.close()
      self._file = self._board = None

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def read(path: str | os.PathLike[str]) -> Curves:
  """Reads a metrics.jsonl.

  Returns:
    {name: (steps, values)} in the order of the steps. The lines of a resumed run replace those that
    the interrupted run wrote for the same and later steps. Half lines and nulls are left out.
  """
  rows = []
  for line in epath.Path(path).read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue  # the run was killed while it wrote this line
    while rows and rows[-1]["step"] > row["step"]:
      rows.pop()
    rows.append(row)
  curves = {}
  for row in rows:
    for name, value in row.items():
      if name == "step" or value is None:
        continue
      steps, values = curves.setdefault(name, ([], []))
      if steps and steps[-1] == row["step"]:
        values[-1] = value
      else:
        steps.append(row["step"])
        values.append(value)
  return curves


class Bar:
  """A progress bar; `bar` makes it. Without a terminal, a log line every LOG_EVERY seconds.

  Args:
    description: a word or two before the bar.
    total: steps in all.
    console: where the bar is drawn.
    done: steps that an interrupted run has done before.
  """

  def __init__(self, description: str, total: int, *, console: rich.console.Console, done: int = 0):
    self._description, self._total, self._done = description, total, done
    self._values, self._started, self._logged = {}, time.monotonic(), time.monotonic()
    self._progress = None
    self._marks = collections.deque([(self._started, done)], maxlen=SPEED_MARKS)
    if console.is_terminal and jax.process_index() == 0:
      self._progress = rich.progress.Progress(
        rich.progress.TextColumn("{task.description:<12}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.fields[values]}"),
        console=console,
      )
      self._task = self._progress.add_task(description, total=total, completed=done, values="")

  def advance(self, count: int = 1, **values: SupportsFloat | None) -> None:
    """Advances the bar.

    Args:
      count: steps done since the last call.
      values: numbers to show, by name; None keeps the number shown before.
    """
    self._done += count
    self._values |= {name: float(value) for name, value in values.items() if value is not None}
    if self._progress is not None:
      self._progress.update(self._task, completed=self._done, values=self._shown())
    elif time.monotonic() - self._logged >= LOG_EVERY:
      self._log()

  def _shown(self) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in self._values.items())

  def _log(self) -> None:
    self._logged = time.monotonic()
    seconds = self._logged - self._started
    # The speed of late, not of all: the first steps compile, and a machine may have become busy.
    then, before = self._marks[0]
    rate = (self._done - before) / max(self._logged - then, 1e-9)
    self._marks.append((self._logged, self._done))
    remaining = ""
    if rate > 0 and self._done < self._total:
      remaining = f", {format_duration((self._total - self._done) / rate)} left"
    logging.info(
      "%s %d/%d in %s%s  %s",
      self._description,
      self._done,
      self._total,
      format_duration(seconds),
      remaining,
      self._shown(),
    )

  def __enter__(self) -> "Bar":
    if self._progress is not None:
      self._progress.start()
      # rich has replaced sys.stderr, and absl's handler holds the old one. Log lines that are
      # written to the new one appear above the bar.
      self._stream = logging.get_absl_handler().python_handler.setStream(sys.stderr)
    return self

  def __exit__(self, *_: object) -> None:
    if self._progress is not None:
      self._progress.stop()
      if self._stream is not None:
        logging.get_absl_handler().python_handler.setStream(self._stream)
    self._log()


def bar(description: str, total: int, *, done: int = 0) -> Bar:
  """A progress bar on standard error.

  Usage: `with metrics.bar("SFT", steps) as bar: bar.advance(loss=0.12)`.

  Args:
    description: a word or two before the bar.
    total: steps in all.
    done: steps that an interrupted run has done before.
  """
  return Bar(description, total, console=rich.console.Console(stderr=True), done=done)


def table(title: str, columns: Mapping[str, Mapping[str, object]]) -> None:
  """Prints a table of figures on standard output, on process 0 alone.

  Args:
    title: above the table.
    columns: {head of a column, such as a model: {name of a row, a figure: value}}. A value that is
      a dict, such as the accuracy by family, gives a row for each of its entries. A column that
      lacks a figure shows "-".
  """
  if jax.process_index() != 0:
    return
  flat = {head: dict(_flat(figures)) for head, figures in columns.items()}
  out = rich.table.Table("", title=rich.text.Text(title), title_justify="left")
  for head in flat:
    out.add_column(rich.text.Text(head, overflow="fold"), justify="right")
  for name in dict.fromkeys(name for figures in flat.values() for name in figures):
    cells = [
      name.replace("_", " "),
      *(format_value(figures.get(name)) for figures in flat.values()),
    ]
    out.add_row(*[rich.text.Text(text) for text in cells])
  rich.console.Console().print(out)


def listing(title: str, rows: Iterable[Sequence[str]]) -> None:
  """Prints rows of text on standard output, on process 0 alone.

  Args:
    title: above the rows.
    rows: cells of equal number; a first cell that repeats the one above is left blank.
  """
  if jax.process_index() != 0:
    return
  out = rich.table.Table(
    title=rich.text.Text(title), title_justify="left", show_header=False, show_lines=False
  )
  before = None
  for first, *others in rows:
    if before is not None and first != before:
      out.add_section()
    shown = "" if first == before else first
    out.add_row(*[rich.text.Text(text, overflow="fold") for text in (shown, *others)])
    before = first
  rich.console.Console().print(out)


def _flat(figures: Mapping[str, object]) -> Iterator[tuple[str, object]]:
  for name, value in figures.items():
    if isinstance(value, dict):
      yield from _flat(value)
    else:
      yield name, value


def format_value(value: object) -> str:
  """Formats a value for a table: numbers to about three digits, None and NaN as "-"."""
  if value is None or isinstance(value, float) and math.isnan(value):
    return "-"
  if isinstance(value, float):
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
  return str(value)


def format_duration(seconds: float) -> str:
  """Formats seconds: "42 s", "3 min 05 s", "2 h 10 min"."""
  seconds = round(seconds)
  if seconds < 60:
    return f"{seconds} s"
  if seconds < 3600:
    return f"{seconds // 60} min {seconds % 60:02d} s"
  return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


@dataclasses.dataclass
class Timer:
  """Duration of the block under `timer()`; set when the block ends."""

  seconds: float = 0.0


@contextlib.contextmanager
def timer() -> Iterator[Timer]:
  """Measures the duration of a block: `with metrics.timer() as t: ...`, then `t.seconds`."""
  started, duration = time.monotonic(), Timer()
  try:
    yield duration
  finally:
    duration.seconds = time.monotonic() - started
