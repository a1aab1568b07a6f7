"""The data that stages made: how hard pairs were for a teacher, and what rejection kept."""

from typing import NamedTuple

from cot_rm.report import plots, run_info, tables

COUNTED = (  # what is said of a teacher's calls, where its figures have it
  "kept",
  "failed",
  "unanswered",
  "refused",
  "empty",
  "cut",
  "unparsable",
  "calls",
  "calls_cached",
  "prompt_tokens",
  "completion_tokens",
)


class Section(NamedTuple):
  """What a stage made."""

  title: str
  legend: list  # of (colour, name)
  url: str  # of the plot
  table: tables.Table | None
  says: str


def sections(workdir, plan):
  """A Section of every <stage>/figures.json of distill and reject, known by what is in it.

  Args:
    workdir: of the run.
    plan: {folder: stage}, in order; folders that it does not name come last.
  """
  place = {name: i for i, name in enumerate(plan)}
  paths = sorted(
    workdir.glob("*/figures.json"),
    key=lambda path: (place.get(path.parent.name, len(place)), path.parent.name),
  )
  out = []
  for path in paths:
    figures = run_info.read(path)
    if "by_source" in figures:
      out.append(taught(path.parent.name, figures))
    elif "hard" in figures:
      out.append(rejected(path.parent.name, figures))
  return out


def taught(stage, figures):
  """How many attempts a teacher took, by source; figures as distillation.statistics has them."""
  by_source = figures["by_source"]
  limit = max(int(head) for row in by_source.values() for head in row if head.isdecimal())
  heads = [*map(str, range(1, limit + 1)), "failed"]
  colors = [*plots.ramp(limit), plots.LOST]
  names = [*(f"right at attempt {number}" for number in heads[:-1]), "never right"]
  says = [f"{tables.words(n)} {figures[n]:,}" for n in COUNTED if n in figures]
  if "dollars" in figures:
    says.append(f"{figures['dollars']:,.2f} dollars")
  return Section(
    f"{stage}: how hard each pair was for the teacher",
    list(zip(colors, names, strict=True)),
    plots.stacks([(s, [row[head] for head in heads]) for s, row in by_source.items()], colors),
    tables.difficulty(by_source),
    " · ".join(says),
  )


def rejected(stage, figures):
  """What rejection sampling kept; figures as data/kept.figures has them."""
  colors, names = (plots.color(2), plots.LOST), ("kept", "hard")
  share = lambda name: tables.shown(figures[name])
  return Section(
    f"{stage}: what rejection sampling kept",
    list(zip(colors, names, strict=True)),
    plots.stacks([("pairs", [figures[name] for name in names])], colors),
    None,
    f"{figures['reasonings']:,} reasonings kept of {figures['samples']:,} samples: "
    f"{share('right')} right, {share('unparsable')} outside the grammar",
  )
