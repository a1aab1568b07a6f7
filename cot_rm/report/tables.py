"""The tables of the page: cells of text, from the figures of the stages."""

import math
from typing import NamedTuple

from cot_rm import metrics
from cot_rm.report import plots

NONE = "–"


class Head(NamedTuple):
  """The head of a column."""

  text: str
  meaning: str = ""


class Cell(NamedTuple):
  """What stands in a column of a row."""

  text: str
  note: str = ""  # small, beneath
  best: bool = False  # of its column


class Row(NamedTuple):
  """A stage, or what else the first column names."""

  name: str
  color: str | None
  cells: list


class Table(NamedTuple):
  """`heads` begin with that of the names."""

  heads: list
  rows: list


class Figure(NamedTuple):
  """A figure that the page knows."""

  name: str
  head: str
  meaning: str = ""
  kind: str = "share"  # how it is shown: "share", "number" or "time"
  sign: int = 0  # 1: more is better, -1: less is, 0: neither


LEADING = (
  Figure("accuracy", "Accuracy", "share of right verdicts, mean of the orders asked", sign=1),
  Figure("accuracy_plus", "Acc+", "share of questions of which every pair is right", sign=1),
  Figure("order_consistency", "Consistent", "share of pairs on whose orders it agrees", sign=1),
  Figure("parse_rate", "Parsed", "share of answers inside the grammar", sign=1),
  Figure("fidelity", "Faithful", "share of what it says of the scene that is true", sign=1),
  Figure("contradictions", "Contradicts", "share of answers against their reasoning", sign=-1),
  Figure("mean_length", "Tokens", "mean length of an answer", "number"),
  Figure("seconds", "Trained", "training time", "time"),
)
OTHERS = (
  Figure("n", "Pairs", "pairs asked", "number"),
  Figure("steps", "Steps", "training steps", "number"),
  Figure("accuracy_pictures", "Pictures", "accuracy, mean over the families without video"),
  Figure("accuracy_macro", "Macro", "accuracy, mean over the families"),
  Figure("first_slot_accuracy", "First slot", "accuracy where the better one stands first"),
  Figure("verdict_slots", "Says first", "share of verdicts for the one that stands first"),
  Figure("accuracy_parsed", "Of parsed", "accuracy among the parsed answers"),
  Figure("contradictions_decided", "Decidable", "share of answers held against their reasoning"),
  Figure("cut", "Cut", "share of answers that reached the limit of tokens"),
  Figure("blank_accuracy", "Blank", "accuracy where the pictures are blank: near a half"),
  Figure("blank_accuracy_parsed", "Blank parsed", "the same among the parsed answers"),
)


def headline(summary, starts):
  """The figures that are read first; of accuracy also the gain over what a stage started from.

  Args:
    summary: {stage: figures}.
    starts: {stage: the stage whose model it started from}.
  """
  every = table(LEADING, summary, colors(summary))
  gains = {
    stage: figures["accuracy"] - summary[starts[stage]]["accuracy"]
    for stage, figures in summary.items()
    if starts.get(stage) in summary
  }
  if not gains:
    return every
  head = Head("Gain", "points of accuracy over the model that the stage started from")
  cell = lambda stage: (
    Cell(f"{100 * gains[stage]:+.1f}", f"over {starts[stage]}") if stage in gains else Cell(NONE)
  )
  rows = [
    Row(name, colour, [cells[0], cell(name), *cells[1:]]) for name, colour, cells in every.rows
  ]
  return Table([*every.heads[:2], head, *every.heads[2:]], rows)


def rest(summary):
  """Every figure that is not in the headline, those that the page does not know included."""
  known = {figure.name for figure in (*LEADING, *OTHERS)}
  more = dict.fromkeys(
    name
    for figures in summary.values()
    for name, value in figures.items()
    if isinstance(value, int | float) and name not in known
  )
  found = (*OTHERS, *(Figure(name, words(name).capitalize(), name, "number") for name in more))
  return table(found, summary, colors(summary))


def by_family(summary, key="families"):
  """Accuracy by family, or what else the figures have by family under `key`."""
  families = sorted({name for figures in summary.values() for name in figures.get(key, ())})
  flat = {
    stage: {f"{key}/{name}": value for name, value in figures.get(key, {}).items()}
    | {"intervals": figures.get("intervals", {})}
    for stage, figures in summary.items()
  }
  found = [Figure(f"{key}/{name}", words(name), sign=1) for name in families]
  return table(found, flat, colors(summary))


def definitions(summary):
  """[(figure, what it is, n)], each once; n as text: from the fewest to the most of the models."""
  counts = {}
  for figures in summary.values():
    for name, one in figures.get("definitions", {}).items():
      counts.setdefault((words(name), one["what"]), []).append(one["n"])
  ends = lambda some: dict.fromkeys([min(some), max(some)])
  return [(*said, " to ".join(f"{n:,}" for n in ends(some))) for said, some in counts.items()]


def difficulty(by_source):
  """How many attempts the teacher took: a row a source."""
  heads = list(dict.fromkeys(name for row in by_source.values() for name in row))
  text = lambda row, head: (
    shown(row.get(head)) if head.startswith("agreement") else shown(row.get(head), "number")
  )
  meaning = lambda head: f"right at attempt {head}" if head.isdecimal() else ""
  rows = [
    Row(source, None, [Cell(text(row, head)) for head in heads])
    for source, row in by_source.items()
  ]
  return Table([Head("Source"), *(Head(head, meaning(head)) for head in heads)], rows)


def shown(value, kind="share"):
  """A figure as text; a dash where there is none."""
  if not known(value):
    return NONE
  if kind == "share":
    return f"{100 * value:.1f} %"
  if kind == "time":
    return metrics.format_duration(value)
  return f"{value:,}" if isinstance(value, int) else metrics.format_value(float(value))


def words(name):
  return name.replace("_", " ").replace("/", ": ")


def colors(names):
  """{name: the colour of its dots and lines}."""
  return {name: plots.color(place) for place, name in enumerate(names)}


def known(value):
  return value is not None and math.isfinite(value)


def table(figures, summary, colors):
  """A row a stage, a column for each figure that some stage has.

  Args:
    figures: of Figure.
    summary: {stage: figures}, "intervals" among them where there are some.
    colors: {stage: colour}.
  """
  figures = [f for f in figures if any(f.name in found for found in summary.values())]
  best = {}
  for figure in figures:
    values = [v for found in summary.values() if known(v := found.get(figure.name))]
    if figure.sign and len(set(values)) > 1:
      best[figure.name] = max(values, key=lambda value, sign=figure.sign: sign * value)
  rows = []
  for stage, found in summary.items():
    cells = []
    for figure in figures:
      value = found.get(figure.name)
      bounds = found.get("intervals", {}).get(figure.name)
      note = f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}" if bounds else ""
      top = value is not None and value == best.get(figure.name)
      cells.append(Cell(shown(value, figure.kind), note, top))
    rows.append(Row(stage, colors[stage], cells))
  return Table([Head("Stage"), *(Head(f.head, f.meaning) for f in figures)], rows)
