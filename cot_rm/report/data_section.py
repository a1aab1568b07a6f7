"""Data made by the run: distillation by difficulty, and pairs kept by rejection sampling."""

from collections.abc import Mapping
from typing import NamedTuple

from etils import epath

from cot_rm.report import plots, run_info, tables

COUNTS = (  # figures of a teacher's calls that are listed below the plot, and their names there
  ("kept", "pairs kept"),
  ("failed", "never correct"),
  ("unanswered", "without an answer"),
  ("left_out", "left out as unusable"),
  ("refused", "refused"),
  ("empty", "empty"),
  ("cut", "truncated"),
  ("unparsable", "not readable"),
  ("calls", "calls"),
  ("calls_cached", "calls from the cache"),
  ("prompt_tokens", "prompt tokens"),
  ("completion_tokens", "completion tokens"),
)


class Section(NamedTuple):
  """The data of one stage."""

  title: str
  legend: list[tuple[str, str]]  # (colour, name)
  url: str  # of the plot
  table: tables.Table | None
  caption: str


def sections(workdir: epath.Path, plan: Mapping[str, str]) -> list[Section]:
  """A Section for every <stage>/figures.json of distill and reject, recognised by its keys.

  Args:
    workdir: of the run.
    plan: {folder: stage} in the order of the run; other folders follow by name.
  """
  position = {name: i for i, name in enumerate(plan)}
  paths = sorted(
    workdir.glob("*/figures.json"),
    key=lambda path: (position.get(path.parent.name, len(position)), path.parent.name),
  )
  out = []
  for path in paths:
    figures = run_info.read_json(path)
    if "by_source" in figures:
      out.append(distillation(path.parent.name, figures))
    elif "hard" in figures:
      out.append(rejection(path.parent.name, figures))
  return out


def distillation(stage: str, figures: tables.Figures) -> Section:
  """Attempts until the teacher agreed with the label, by source.

  Args:
    stage: name of the stage's folder.
    figures: as data.distillation.statistics makes them.
  """
  by_source = figures["by_source"]
  attempts = max(int(name) for row in by_source.values() for name in row if name.isdecimal())
  keys = [*map(str, range(1, attempts + 1)), "failed"]
  colours = [*plots.ramp(attempts), plots.FAILED]
  names = [*(f"correct at attempt {number}" for number in keys[:-1]), "never correct"]
  counts = [f"{text} {figures[name]:,}" for name, text in COUNTS if name in figures]
  if "dollars" in figures:
    counts.append(f"{figures['dollars']:,.2f} dollars")
  bars = [(source, [row[key] for key in keys]) for source, row in by_source.items()]
  return Section(
    f"{stage}: attempts until the teacher agreed with the label",
    list(zip(colours, names, strict=True)),
    plots.stacked_bars(bars, colours),
    tables.difficulty(by_source),
    " · ".join(counts),
  )


def rejection(stage: str, figures: tables.Figures) -> Section:
  """Pairs with and without a correct sample; figures as data.rejection.statistics makes them."""
  colours, names = (plots.color(2), plots.FAILED), ("kept", "hard")
  left_out = (
    f"; {figures['left_out']:,} pairs left out as unusable" if figures.get("left_out") else ""
  )
  correct, unparsable = (tables.format_figure(figures[n]) for n in ("right", "unparsable"))
  return Section(
    f"{stage}: pairs kept by rejection sampling",
    list(zip(colours, ("with a correct sample: kept", "without: hard"), strict=True)),
    plots.stacked_bars([("pairs", [figures[name] for name in names])], colours),
    None,
    f"{figures['reasonings']:,} of {figures['samples']:,} samples kept as reasoning to train on; "
    f"{correct} of all samples are correct, {unparsable} have no readable verdict{left_out}",
  )
