"""Voting@k and any@k: the curves, and the tables of what they show."""

from cot_rm.report import plots, tables

HEADS = {"vote": "voting", "any": "any", "vote_plus": "whole sets"}  # in their order
PLOTS = (  # (key, title, what it is)
  ("vote", "voting@k", "the majority of k samples is right; a draw is half right"),
  ("any", "any@k", "at least one of k samples is right"),
)


def section(summary):
  """What the page shows of votes; None where no stage has any."""
  voted = {stage: figures["voting"] for stage, figures in summary.items() if "voting" in figures}
  if not voted:
    return None
  colors = tables.colors(summary)
  return {
    "asked": sorted({(v["samples"], v["temperature"], v["n"]) for v in voted.values()}),
    "legend": [(colors[stage], stage) for stage in voted],
    "plots": [
      (
        title,
        says,
        plots.steps_of(
          [(v["at"], v[key], v[f"{key}_intervals"], colors[stage]) for stage, v in voted.items()]
        ),
      )
      for key, title, says in PLOTS
    ],
    "table": tables.table(
      _figures(voted.values()), {s: _flat(v) for s, v in voted.items()}, colors
    ),
    "families": _families(voted, colors),
  }


def _figures(voted):
  """tables.Figures: every kind at every number of votes that some stage has."""
  numbers = sorted({k for v in voted for k in v["at"]})
  return [
    tables.Figure(f"{kind}@{k}", f"{head}@{k}", "", sign=1)
    for kind, head in HEADS.items()
    for k in numbers
  ]


def _flat(voted):
  """A stage's votes as tables.table wants figures: {"vote@5": ..., "intervals": ...}."""
  flat = lambda key: {
    f"{kind}@{k}": value
    for kind in HEADS
    if f"{kind}{key}" in voted
    for k, value in zip(voted["at"], voted[f"{kind}{key}"], strict=True)
  }
  return flat("") | {"intervals": flat("_intervals")}


def _families(voted, colors):
  """The same by family: a row for a stage and a family."""
  rows = {
    f"{stage}, {tables.words(family)}": (_flat({"at": v["at"], **lists}), colors[stage])
    for stage, v in voted.items()
    for family, lists in v["families"].items()
  }
  figures = [figure._replace(sign=0) for figure in _figures(voted.values())]
  return tables.table(
    figures,
    {n: flat for n, (flat, _) in rows.items()},
    {n: color for n, (_, color) in rows.items()},
  )
