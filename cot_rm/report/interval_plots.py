"""Forest plots of the models' accuracies with 95 % intervals, on shared axes."""

import functools
from typing import NamedTuple

from cot_rm.report import plots, tables

CHANCE = 0.5  # accuracy of guessing, and the share of verdicts for the first one without bias
LEAD_WIDTH = 4.2  # inches, of the first plot
TITLE_HEIGHT = 0.5  # inches, of a title and the gap above it


class IntervalPlot(NamedTuple):
  """A plot with a row for each model."""

  title: str
  caption: str
  url: str


def families(summary: tables.Summary) -> list[IntervalPlot]:
  """Accuracy overall, then by task family, all on the same axis; a single plot for one model."""
  names = sorted({name for figures in summary.values() for name in figures["families"]})
  overall = _rows(summary, "accuracy")
  if not overall:
    return []
  parts = [(tables.readable(name), _rows(summary, f"families/{name}")) for name in names]
  limits = _limits([*overall, *(row for _, rows in parts for row in rows)])
  forest = functools.partial(plots.forest, limits=limits, level=CHANCE)
  if len(summary) == 1:
    rows = [(title, *row[1:]) for title, rows in [("all", overall), *parts] for row in rows]
    return [IntervalPlot(next(iter(summary)), "", forest(rows, width=plots.WIDE))]
  # The families are in two columns beside the first plot, each with its title: equally high.
  grid_rows = -(-len(names) // 2)
  plot_height = plots.forest_height(len(summary))
  height = max(grid_rows * (plot_height + TITLE_HEIGHT) - TITLE_HEIGHT, plot_height)
  lead = IntervalPlot("All", "", forest(overall, width=LEAD_WIDTH, height=height))
  return [lead, *(IntervalPlot(title, "", forest(rows)) for title, rows in parts)]


def position_bias(summary: tables.Summary) -> list[IntervalPlot]:
  """How verdicts depend on the order in which the candidates are shown."""
  out = []
  for name, title, caption, level in (
    (
      "verdict_slots",
      "Verdicts for the first candidate",
      "share of verdicts for the candidate shown first; 50 % is unbiased",
      CHANCE,
    ),
    (
      "position_bias",
      "Position bias",
      "accuracy with the preferred candidate first, less that with it second",
      0.0,
    ),
    (
      "right_in_both_orders",
      "Right in both orders",
      "share of pairs that are right in both orders",
      None,
    ),
    (
      "order_consistency",
      "Order consistency",
      "share of pairs with the same preference in both orders",
      None,
    ),
  ):
    if rows := _rows(summary, name):
      url = plots.forest(rows, limits=_limits(rows, level), level=level)
      out.append(IntervalPlot(title, caption, url))
  return out


def lengths(summary: tables.Summary) -> list[IntervalPlot]:
  """How accuracy depends on the lengths of two texts, and how often verdicts are for the longer."""
  out = []
  for name, title, caption in (
    ("accuracy_longer", "Better text longer", "accuracy where the better text is the longer one"),
    ("accuracy_shorter", "Better text shorter", "accuracy where it is the shorter one"),
    ("verdicts_longer", "Verdicts for the longer text", "share of verdicts for the longer text"),
  ):
    if rows := _rows(summary, name):
      url = plots.forest(rows, limits=_limits(rows), level=CHANCE)
      out.append(IntervalPlot(title, caption, url))
  return out


def _rows(summary: tables.Summary, name: str) -> list[plots.ForestRow]:
  """The rows of the models that have a figure; "families/mcq" is the accuracy of a family."""
  colors, family = tables.colors(summary), name.partition("families/")[2]
  out = []
  for model, figures in summary.items():
    value = figures["families"].get(family) if family else figures.get(name)
    if tables.is_known(value):
      out.append((model, value, figures.get("intervals", {}).get(name), colors[model]))
  return out


def _limits(rows: list[plots.ForestRow], middle: float | None = None) -> tuple[float, float]:
  """(low, high) of an axis: all intervals with a margin; symmetric around `middle` if given."""
  ends = [end for _, value, interval, _ in rows for end in (value, *(interval or ()))]
  if middle is not None:
    distance = max(0.1, *(abs(end - middle) + 0.02 for end in ends))
    return middle - distance, middle + distance
  return max(min(ends) - 0.02, 0.0), min(max(ends) + 0.02, 1.005)
