"""The page that compares two models: figures of both, and the pairs about which they differ."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from etils import epath

from cot_rm import files
from cot_rm.report import page, sample_cards, tables


class Differing(NamedTuple):
  """A pair about which two models differ, in one order."""

  first: Mapping[str, object]  # the record of the first model's answer, see sample_cards.card
  second: Mapping[str, object]
  gain: float  # credit of the second model's answers minus that of the first's, -1 to 1
  order: str  # in words


def figures(compared: Mapping[str, object], names: tuple[str, str]) -> tables.Table:
  """The accuracies of two models and their difference, overall and by family.

  Args:
    compared: as benchmarks.comparison makes them.
    names: of the models.
  """
  heads = ["Pairs", *names, "Difference", "n"]
  rows = {"all": compared["overall"], **compared["families"]}
  out = []
  for name, share in rows.items():
    low, high = (100 * end for end in share["interval"])
    cells = [tables.Cell(tables.format_figure(share[side])) for side in ("first", "second")]
    cells.append(tables.Cell(f"{100 * share['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}"))
    cells.append(tables.Cell(f"{share['n']:,}"))
    out.append(tables.Row(tables.readable(name), None, cells))
  return tables.Table([*map(tables.Head, heads)], out)


def write(
  path: str | os.PathLike[str],
  compared: Mapping[str, object],
  names: tuple[str, str],
  *,
  differing: Sequence[Differing],
  asked: str = "",
  conditions: Sequence[str] = (),
  published: tuple[Sequence[str], Sequence[tables.PublishedRow]] = ((), ()),
) -> epath.Path:
  """Writes the page, which loads nothing from the network or from other files.

  Args:
    path: of the page.
    compared: the figures, as benchmarks.comparison makes them.
    names: of the models.
    differing: pairs to show.
    asked: see report.write.
    conditions: settings that differ between the two models' answers, in words.
    published: see report.write.
  """
  first, second = names
  counts = [
    ("Both right", compared["both"]),
    (f"Better by {first}", compared["first_alone"]),
    (f"Better by {second}", compared["second_alone"]),
    ("Alike otherwise", compared["neither"]),
  ]
  cards = [
    (sample_cards.card(one.first), sample_cards.card(one.second), one.gain, one.order)
    for one in differing
  ]
  text = page.render(
    "comparison.html.j2",
    names=names,
    asked=asked,
    figures=figures(compared, names),
    counts=[(name, f"{count:,}") for name, count in counts],
    conditions=conditions,
    cards=cards,
    published=tables.published(*published),
  )
  files.write_atomic(epath.Path(path), text)
  return epath.Path(path)
