"""Figures of the stages as dots with intervals: which of them share an axis."""

import functools
from typing import NamedTuple

from cot_rm.report import plots, tables

HALF = 0.5  # a coin's accuracy, and the share of verdicts for either place of one that reads
LEAD, TITLE = 4.2, 0.5  # inches: how wide the first plot is, how high a title and a gap are


class Dots(NamedTuple):
  """A plot with a line a stage."""

  title: str
  says: str
  url: str


def families(summary):
  """Dots of the accuracy, all on one axis: in all, then each family; of one stage a plot of all."""
  names = sorted({name for figures in summary.values() for name in figures["families"]})
  overall = _rows(summary, "accuracy")
  if not overall:
    return []
  parts = [(tables.words(name), _rows(summary, f"families/{name}")) for name in names]
  limits = _limits([*overall, *(row for _, rows in parts for row in rows)])
  forest = functools.partial(plots.forest, limits=limits, level=HALF)
  if len(summary) == 1:
    rows = [(title, *row[1:]) for title, rows in [("all", overall), *parts] for row in rows]
    return [Dots(next(iter(summary)), "", forest(rows, width=plots.WIDE))]
  # As high as the families beside it, which stand two in a row, each with its title.
  beside = -(-len(names) // 2)
  high = max(beside * (plots.natural(len(summary)) + TITLE) - TITLE, plots.natural(len(summary)))
  lead = Dots("All", "", forest(overall, width=LEAD, height=high))
  return [lead, *(Dots(title, "", forest(rows)) for title, rows in parts)]


def orders(summary):
  """Dots of what becomes of a verdict when the candidates change places."""
  out = []
  for name, title, says, level in (
    ("verdict_slots", "Verdict slots", "share of verdicts for the one that stands first", HALF),
    ("first_slot_accuracy", "First slot", "accuracy where the better one stands first", None),
    ("order_consistency", "Consistency", "share of pairs on whose two orders it agrees", None),
  ):
    if rows := _rows(summary, name):
      url = plots.forest(rows, limits=_limits(rows, level), level=level)
      out.append(Dots(title, says, url))
  return out


def _rows(summary, name):
  """[(stage, value, interval or None, colour)] of the stages that have a figure."""
  colors, family = tables.colors(summary), name.partition("families/")[2]
  out = []
  for stage, figures in summary.items():
    value = figures["families"].get(family) if family else figures.get(name)
    if tables.known(value):
      out.append((stage, value, figures.get("intervals", {}).get(name), colors[stage]))
  return out


def _limits(rows, middle=None):
  """(low, high) of an axis: what intervals span and a little more; as far to both of a middle."""
  ends = [end for _, value, bounds, _ in rows for end in (value, *(bounds or ()))]
  if middle is not None:
    far = max(0.1, *(abs(end - middle) + 0.02 for end in ends))
    return middle - far, middle + far
  return max(min(ends) - 0.02, 0.0), min(max(ends) + 0.02, 1.005)
