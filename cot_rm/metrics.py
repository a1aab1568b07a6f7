"""What a run tells the world while it runs: metrics on disk, progress bars, tables, timers."""

import contextlib
import dataclasses
import json
import math
import sys
import time

import jax
import rich.console
import rich.progress
import rich.table
import rich.text
import tensorboardX
from absl import logging
from etils import epath

from cot_rm import files

LOG_EVERY = 10.0  # seconds between the lines of a bar that has no terminal


class Writer:
  """Writes metrics.jsonl and TensorBoard events (tb/) in a folder; only process 0 writes.

  A resumed run appends, and may write a step again: `read` takes the later line.
  """

  def __init__(self, folder):
    self._file = self._board = None
    if jax.process_index() == 0:
      self._folder = folder = epath.Path(folder)
      folder.mkdir(parents=True, exist_ok=True)
      path = folder / "metrics.jsonl"
      # A run that was killed may have left half a line: end it, so that the next one is whole.
      torn = path.exists() and path.read_text()[-1:] not in ("", "\n")
      self._file = path.open("a")
      if torn:
        self._file.write("\n")
      self._board = tensorboardX.SummaryWriter(str(folder / "tb"))

  def write(self, step, metrics):
    """Adds one line: {"step": step, **metrics}. A value that is not finite is written as null."""
    if self._file is None:
      return
    values = {name: float(value) for name, value in metrics.items()}
    line = {k: v if math.isfinite(v) else None for k, v in values.items()}
    self._file.write(json.dumps({"step": int(step), **line}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, int(step))

  def samples(self, step, records):
    """Writes samples/<step>.jsonl, what a human reads first; see report/cards.py."""
    if self._file is None:
      return
    path = self._folder / "samples" / f"{int(step):06d}.jsonl"
    files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in records))

  def close(self):
    if self._file is not None:
      self._file.close()
      self._board.close()
      self._file = self._board = None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()


def read(path):
  """Reads a metrics.jsonl.

  Returns:
    {name: ([steps], [values])} in order of steps. Where a resumed run went back, its lines replace
    those of the run that was cut; a half-written line and nulls are left out.
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
  """A progress bar; made by `bar`. Without a terminal it is a log line every ten seconds."""

  def __init__(self, description, total, *, console, done=0):
    self._description, self._total, self._done = description, total, done
    self._values, self._started, self._logged = {}, time.monotonic(), time.monotonic()
    self._first, self._progress = done, None
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

  def advance(self, count=1, **values):
    """Goes on by `count` and shows the newest `values`: numbers by name, None for nothing new."""
    self._done += count
    self._values.update({n: float(value) for n, value in values.items() if value is not None})
    if self._progress is not None:
      self._progress.update(self._task, completed=self._done, values=self._shown())
    elif time.monotonic() - self._logged >= LOG_EVERY:
      self._log()

  def _shown(self):
    return " ".join(f"{name} {value:.4g}" for name, value in self._values.items())

  def _log(self):
    self._logged = time.monotonic()
    seconds = self._logged - self._started
    rate = (self._done - self._first) / max(seconds, 1e-9)
    left = (
      f", {clock((self._total - self._done) / rate)} left"
      if rate > 0 and self._done < self._total
      else ""
    )
    logging.info(
      "%s %d/%d in %s%s  %s",
      self._description,
      self._done,
      self._total,
      clock(seconds),
      left,
      self._shown(),
    )

  def __enter__(self):
    if self._progress is not None:
      self._progress.start()
      # absl's handler holds the terminal itself: its lines go above the bar, not through it.
      self._stream = logging.get_absl_handler().python_handler.setStream(sys.stderr)
    return self

  def __exit__(self, *_):
    if self._progress is not None:
      self._progress.stop()
      if self._stream is not None:
        logging.get_absl_handler().python_handler.setStream(self._stream)
    self._log()


def bar(description, total, *, done=0):
  """A progress bar for `with`: `with metrics.bar("SFT", steps) as bar: bar.advance(loss=0.12)`.

  Args:
    description: what is going on, in a word or two.
    total: how many there are in all.
    done: how many of them were done before, in a run that was interrupted.
  """
  return Bar(description, total, console=rich.console.Console(stderr=True), done=done)


def table(title, columns):
  """Shows figures on standard output, on process 0: a column a stage, a line a figure.

  Args:
    title: above the table.
    columns: {head of a column: {figure: value}}; a value that is a dict itself, such as accuracy by
      family, gives a line for each of its own. A column without some figure shows "-" there.
  """
  if jax.process_index() != 0:
    return
  flat = {head: dict(_flat(figures)) for head, figures in columns.items()}
  out = rich.table.Table("", title=rich.text.Text(title), title_justify="left")
  for head in flat:
    out.add_column(rich.text.Text(head, overflow="fold"), justify="right")
  for name in dict.fromkeys(name for figures in flat.values() for name in figures):
    cells = [name.replace("_", " "), *(cell(figures.get(name)) for figures in flat.values())]
    out.add_row(*[rich.text.Text(text) for text in cells])
  rich.console.Console().print(out)


def _flat(figures):
  for name, value in figures.items():
    if isinstance(value, dict):
      yield from _flat(value)
    else:
      yield name, value


def cell(value):
  """A value as it stands in a table."""
  if value is None or isinstance(value, float) and math.isnan(value):
    return "-"
  if isinstance(value, float):
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
  return str(value)


def clock(seconds):
  """Seconds as people write them: "42 s", "3 min 05 s", "2 h 10 min"."""
  seconds = round(seconds)
  if seconds < 60:
    return f"{seconds} s"
  if seconds < 3600:
    return f"{seconds // 60} min {seconds % 60:02d} s"
  return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


@dataclasses.dataclass
class Timer:
  """How long the block under `timer()` took, in seconds; known after it."""

  seconds: float = 0.0


@contextlib.contextmanager
def timer():
  """Times a block: `with metrics.timer() as t: ...`, then `t.seconds`."""
  started, result = time.monotonic(), Timer()
  try:
    yield result
  finally:
    result.seconds = time.monotonic() - started
