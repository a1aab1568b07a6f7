"""Tables of the report: rows of formatted cells, made from the figures of the models."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, get_args

from cot_rm import metrics
from cot_rm.report import plots

MISSING = "–"  # shown for a figure that a model does not have

Figures = Mapping[str, object]  # {name of a figure: value} of a model, as stages/eval writes them
Summary = Mapping[str, Figures]  # {model: its figures}
Kind = Literal["share", "number", "time"]  # how a figure is formatted
Sign = Literal[-1, 0, 1]  # 1: larger is better; -1: smaller is better; 0: neither


class Head(NamedTuple):
  """Head of a column."""

  text: str
  meaning: str = ""  # tooltip


class Cell(NamedTuple):
  """Cell of a table."""

  text: str
  note: str = ""  # in small type below the text
  best: bool = False  # whether it is the best of its column


class PublishedRow(Protocol):
  """A result as its authors published it."""

  @property
  def model(self) -> str: ...
  @property
  def values(self) -> Sequence[float | None]: ...  # in percent; None: not published
  @property
  def source(self) -> str: ...
  @property
  def caveats(self) -> Sequence[str]: ...


class Row(NamedTuple):
  """Row of a table: a model, or a source of pairs."""

  name: str
  color: str | None
  cells: list[Cell]


class Table(NamedTuple):
  """A table; heads[0] is the head of the column of row names."""

  heads: list[Head]
  rows: list[Row]


@dataclasses.dataclass(frozen=True)
class Figure:
  """A figure that can be a column of a table."""

  name: str  # key in the figures of a model
  head: str  # head of the column
  meaning: str = ""  # tooltip
  kind: Kind = "share"
  sign: Sign = 0

  def __post_init__(self) -> None:
    if self.kind not in get_args(Kind) or self.sign not in get_args(Sign):
      raise ValueError(f"figure {self.name!r}: kind {self.kind!r} or sign {self.sign!r} is unknown")


HEADLINE = (
  Figure(
    "accuracy",
    "Accuracy",
    "Share of correct verdicts, in the orders and by the reading of the mode: see the definitions.",
    sign=1,
  ),
  Figure(
    "accuracy_plus", "Acc+", "Share of questions for which every pair is judged correctly.", sign=1
  ),
  Figure(
    "order_consistency",
    "Order consistency",
    "Share of pairs for which both orders of the candidates give the same preference.",
    sign=1,
  ),
  Figure(
    "parse_rate", "Parsed", "Share of answers in the required format: a verdict is read.", sign=1
  ),
  Figure(
    "fidelity",
    "Faithful",
    "Share of an answer's statements about the picture that are true, mean over answers. "
    "Known only for pictures of the built-in world.",
    sign=1,
  ),
  Figure(
    "contradictions",
    "Contradictory",
    "Share of answers whose reasoning favours one candidate and whose verdict names the other.",
    sign=-1,
  ),
  Figure("mean_length", "Tokens", "Mean length of an answer in tokens.", "number"),
  Figure("seconds", "Training time", "Time of the training stage that made the model.", "time"),
)
OTHERS = (
  Figure("n", "Pairs", "Number of pairs that were judged.", "number"),
  Figure("steps", "Steps", "Training steps.", "number"),
  Figure("accuracy_pictures", "Still images", "Accuracy, mean of the task families without video."),
  Figure("accuracy_macro", "Macro accuracy", "Accuracy, mean of the task families."),
  Figure("diff", "diff", "Accuracy on pairs of which people prefer a candidate."),
  Figure("tau", "tau", "Share of right predictions over all pairs, a tie being one of three."),
  Figure(
    "first_slot_accuracy",
    "Preferred first",
    "Accuracy in the order that shows the preferred candidate first.",
  ),
  Figure(
    "second_slot_accuracy",
    "Preferred second",
    "Accuracy in the order that shows the preferred candidate second.",
  ),
  Figure(
    "position_bias",
    "Position bias",
    "Accuracy with the preferred candidate first, less that with it second.",
  ),
  Figure(
    "right_in_both_orders",
    "Right in both orders",
    "Share of pairs that are right in both orders.",
    sign=1,
  ),
  Figure("ties", "Ties", "Share of answers that call the candidates equal, which is no verdict."),
  Figure("unparsable", "Unreadable", "Share of answers that are neither a verdict nor a tie."),
  Figure(
    "left_out", "Not counted", "Answers that the mode leaves out of all accuracies.", "number"
  ),
  Figure(
    "verdict_slots",
    "Verdicts for first",
    "Share of verdicts for the candidate that is shown first. 50 % is without position bias.",
  ),
  Figure(
    "label_mass",
    "Mass of 1 and 2",
    "Mean probability of the tokens 1 and 2 together at a verdict's digit. A verdict's probability "
    "is divided among these two.",
  ),
  Figure(
    "label_top",
    "1 or 2 likeliest",
    "Share of verdicts at whose digit one of them is likeliest.",
  ),
  Figure("accuracy_longer", "Better text longer", "Accuracy where the better text is longer."),
  Figure("accuracy_shorter", "Better text shorter", "Accuracy where the better text is shorter."),
  Figure("gold_longer", "Labels for longer", "Share of pairs whose better text is the longer one."),
  Figure("verdicts_longer", "Verdicts for longer", "Share of verdicts for the longer text."),
  Figure("accuracy_parsed", "Accuracy of parsed", "Accuracy among answers with a verdict."),
  Figure(
    "contradictions_decided",
    "Contradiction decidable",
    "Share of answers whose reasoning favours a candidate, so that it can contradict the verdict.",
  ),
  Figure(
    "accuracy_clean",
    "Not trained on",
    "Accuracy on the pairs whose pictures and texts are not in the training data.",
  ),
  Figure("cut", "Truncated", "Share of answers that reached the token limit."),
  Figure(
    "blank_accuracy",
    "Blank pictures",
    "Accuracy when every picture is blank. Near 50 % or below if the model uses the pictures.",
  ),
  Figure(
    "blank_accuracy_parsed",
    "Blank pictures, parsed",
    "Accuracy when every picture is blank, among answers with a verdict.",
  ),
)
KNOWN = {figure.name: figure for figure in (*HEADLINE, *OTHERS)}


def headline(summary: Summary, start_models: Mapping[str, str]) -> Table:
  """The main results, with the gain in accuracy over the model that training started from.

  Args:
    summary: {model: {name of a figure: value}}.
    start_models: {model: the model that its training started from}.
  """
  results = table(HEADLINE, summary, colors(summary))
  gains = {
    model: figures["accuracy"] - summary[start_models[model]]["accuracy"]
    for model, figures in summary.items()
    if start_models.get(model) in summary
  }
  if not gains:
    return results
  head = Head("Gain", "Gain in accuracy, in points, over the model that training started from.")
  rows = []
  for name, colour, cells in results.rows:
    gain = Cell(MISSING)
    if name in gains:
      gain = Cell(f"{100 * gains[name]:+.1f}", f"over {start_models[name]}")
    rows.append(Row(name, colour, [cells[0], gain, *cells[1:]]))
  return Table([*results.heads[:2], head, *results.heads[2:]], rows)


def baselines(found: Summary) -> Table:
  """The figures of judges without a model, a row each.

  Args:
    found: {name: {name of a figure: value}}, as benchmarks.baselines makes them.
  """
  made = table((*HEADLINE, *OTHERS), found, {})
  return made._replace(heads=[Head("Judge"), *made.heads[1:]])


def published(columns: Sequence[str], rows: Iterable[PublishedRow]) -> Table:
  """Results as others published them, in percent, with what to mind below each name.

  Args:
    columns: names of the figures.
    rows: as benchmarks.published_results has them.
  """
  heads = [Head("Model"), *map(Head, columns), Head("Mind"), Head("Source")]
  out = []
  for row in rows:
    cells = [Cell(MISSING if value is None else f"{value:.1f}") for value in row.values]
    cells += [Cell("; ".join(row.caveats)), Cell(row.source)]
    out.append(Row(row.model, None, cells))
  return Table(heads, out)


def other_figures(summary: Summary) -> Table:
  """All figures that are not in the headline, those of an unknown name included."""
  unknown = dict.fromkeys(
    name
    for figures in summary.values()
    for name, value in figures.items()
    if isinstance(value, int | float) and name not in KNOWN
  )
  columns = [Figure(name, readable(name).capitalize(), name, "number") for name in unknown]
  return table((*OTHERS, *columns), summary, colors(summary))


def by_family(
  summary: Summary, key: Literal["families", "families_plus", "families_tau"] = "families"
) -> Table:
  """Accuracy ("families"), Acc+ ("families_plus") or tau ("families_tau") by task family."""
  families = sorted({name for figures in summary.values() for name in figures.get(key, ())})
  return _members(summary, key, families, sign=1)


def by_length(summary: Summary) -> Table:
  """Accuracy by the difference of the lengths of two texts, in the order of the differences."""
  bins = dict.fromkeys(name for figures in summary.values() for name in figures.get("lengths", ()))
  return _members(summary, "lengths", [*bins])


def _members(summary: Summary, key: str, names: Sequence[str], *, sign: Sign = 0) -> Table:
  """A column for each of the figures that are {name: value} in the figure `key` of a model."""
  flat = {
    model: {f"{key}/{name}": value for name, value in figures.get(key, {}).items()}
    | {"intervals": figures.get("intervals", {})}
    for model, figures in summary.items()
  }
  columns = [Figure(f"{key}/{name}", readable(name), sign=sign) for name in names]
  return table(columns, flat, colors(summary))


def definitions(summary: Summary) -> list[tuple[str, str, str]]:
  """(head, definition, n) of every figure that the summary defines.

  n is the number of items that the figure is a mean of; "12 to 1,300" if it differs by model.
  """
  counts = {}
  for figures in summary.values():
    for name, entry in figures.get("definitions", {}).items():
      head = KNOWN[name].head if name in KNOWN else readable(name)
      counts.setdefault((head, entry["what"]), []).append(entry["n"])
  return [(*texts, _number_range(numbers)) for texts, numbers in counts.items()]


def _number_range(numbers: Sequence[int]) -> str:
  ends = dict.fromkeys([min(numbers), max(numbers)])  # one entry if they are equal
  return " to ".join(f"{number:,}" for number in ends)


def difficulty(by_source: Mapping[str, Mapping[str, float]]) -> Table:
  """Attempts until the teacher agreed with the label: a row for each source of pairs.

  Args:
    by_source: {source: figures}, as data.distillation.statistics makes them: "pairs",
      "agreement@1", the numbers of pairs by attempts ("1", "2", ...), "failed".
  """
  names = list(dict.fromkeys(name for figures in by_source.values() for name in figures))
  rows = []
  for source, figures in by_source.items():
    kinds = ["share" if name.startswith("agreement") else "number" for name in names]
    texts = [format_figure(figures.get(n), kind) for n, kind in zip(names, kinds, strict=True)]
    rows.append(Row(source, None, [Cell(text) for text in texts]))
  return Table([Head("Source"), *map(_difficulty_head, names)], rows)


def _difficulty_head(name: str) -> Head:
  if name.isdecimal():
    return Head(f"attempt {name}", f"Pairs for which attempt {name} was the first to agree.")
  meanings = {
    "pairs": "Pairs that the teacher was asked about.",
    "agreement@1": "Share of pairs for which the first attempt agreed with the label.",
    "failed": "Pairs for which no attempt agreed with the label.",
  }
  return Head(name, meanings.get(name, ""))


def format_figure(value: float | None, kind: Kind = "share") -> str:
  """Formats a figure; MISSING for None and for values that are not finite."""
  if not is_known(value):
    return MISSING
  if kind == "share":
    return f"{100 * value:.1f} %"
  if kind == "time":
    return metrics.format_duration(value)
  return f"{value:,}" if isinstance(value, int) else metrics.format_value(float(value))


def readable(name: str) -> str:
  """A name from the code in words: "families/image_generation" -> "families: image generation"."""
  return name.replace("_", " ").replace("/", ": ")


def short_names(names: Iterable[str]) -> dict[str, str]:
  """{name: what tells it from the others}, of models that are named by folders or hub ids.

  "runs--a--rl--model" and "runs--b--rl--model" are "a--rl--model" and "b--rl--model": the parts
  with which all begin say nothing, and a narrow column would show nothing else.
  """
  parts = {name: name.split("--") for name in names}
  if len(parts) < 2:
    return {name: name for name in parts}
  most = min(map(len, parts.values())) - 1
  columns = list(zip(*parts.values(), strict=False))[:most]
  shared = next((i for i, column in enumerate(columns) if len(set(column)) > 1), most)
  return {name: "--".join(of[shared:]) for name, of in parts.items()}


def colors(names: Iterable[str]) -> dict[str, str]:
  """{name of a model: its colour on the whole page}."""
  return {name: plots.color(index) for index, name in enumerate(names)}


def is_known(value: float | None) -> bool:
  """Whether a value is a finite number."""
  return value is not None and math.isfinite(value)


def table(columns: Sequence[Figure], summary: Summary, colors: Mapping[str, str]) -> Table:
  """A row for each model, and a column for each figure that at least one model has.

  Args:
    columns: figures in their order.
    summary: {model: {name of a figure: value}}; the value of "intervals" is {name of a figure:
      (low, high)}.
    colors: {model: colour}; a model that is not in it has none.
  """
  columns = [c for c in columns if any(c.name in figures for figures in summary.values())]
  best = {column.name: _best_text(column, summary) for column in columns}
  rows = []
  for model, figures in summary.items():
    cells = []
    for column in columns:
      text = format_figure(figures.get(column.name), column.kind)
      interval = figures.get("intervals", {}).get(column.name)
      note = f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else ""
      cells.append(Cell(text, note, text == best[column.name]))
    rows.append(Row(model, colors.get(model), cells))
  return Table([Head("Model"), *(Head(c.head, c.meaning) for c in columns)], rows)


def _best_text(column: Figure, summary: Summary) -> str | None:
  """The best value of a column as shown; None without a better one, or if all are shown alike."""
  values = [v for figures in summary.values() if is_known(v := figures.get(column.name))]
  if not column.sign or len({format_figure(value, column.kind) for value in values}) < 2:
    return None
  return format_figure(max(values) if column.sign > 0 else min(values), column.kind)
