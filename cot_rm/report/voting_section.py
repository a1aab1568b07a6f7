"""Voting over several samples of a judge: voting@k and any@k, as plots and tables."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cot_rm.report import plots, tables

HEADS = {  # in their order
  "vote": "voting",
  "expected_vote": "by probability",
  "any": "any",
  "vote_plus": "Acc+ voting",
}
COSTS = {"tokens": "tokens", "tokens_stopped": "with early stop"}
MEANINGS = {
  "vote": "The majority of {k} samples is correct; a draw counts as half correct.",
  "expected_vote": "The mean probability of {k} samples is that of the right candidate.",
  "tokens": "Mean number of tokens of {k} samples of a pair in one order.",
  "tokens_stopped": "The same, drawn one after the other until the majority is decided.",
  "any": "At least one of {k} samples is correct.",
  "vote_plus": "Share of questions for which the majority of {k} samples is correct on every pair.",
}
PLOTS = (  # (key, title, caption)
  ("vote", "voting@k", "the majority of k samples is correct; a draw counts as half correct"),
  ("any", "any@k", "at least one of k samples is correct"),
)
TOKENS = "voting@k over the tokens of k samples; dotted: without early stop"
Voting = Mapping[str, object]  # the "voting" figures of a model, as benchmarks.voting makes them


class Section(NamedTuple):
  """The section of the page."""

  sampling: list[tuple[int, float, int]]  # (samples per pair, temperature, pairs), each once
  legend: list[tuple[str, str]]  # (colour, model)
  plots: list[tuple[str, str, str]]  # (title, caption, url)
  table: tables.Table
  costs: tables.Table
  families: tables.Table


def section(summary: tables.Summary) -> Section | None:
  """The voting section of all models that have votes; None if there is none."""
  voted = {model: figures["voting"] for model, figures in summary.items() if "voting" in figures}
  if not voted:
    return None
  colors = tables.colors(summary)

  def plot(key: str) -> str:
    series = [(v["at"], v[key], v[f"{key}_intervals"], colors[m]) for m, v in voted.items()]
    return plots.points_with_intervals(series)

  columns = _columns(voted.values())
  return Section(
    sampling=sorted({(v["samples"], v["temperature"], v["n"]) for v in voted.values()}),
    legend=[(colors[model], model) for model in voted],
    plots=[
      *((title, caption, plot(key)) for key, title, caption in PLOTS),
      ("Accuracy over tokens", TOKENS, _over_tokens(voted, colors)),
    ],
    table=tables.table(columns, {m: _flat(v) for m, v in voted.items()}, colors),
    costs=tables.table(
      _columns(voted.values(), COSTS, "number"),
      {m: _flat(v, COSTS) for m, v in voted.items()},
      colors,
    ),
    families=_by_family(columns, voted, colors),
  )


def _over_tokens(voted: Mapping[str, Voting], colors: Mapping[str, str]) -> str:
  """The plot of voting@k over the tokens that it costs."""
  series = [
    (voting[cost], voting["vote"], colors[model], style)
    for model, voting in voted.items()
    for cost, style in (("tokens", ":"), ("tokens_stopped", "-"))
  ]
  return plots.lines(series, share=False)


def _columns(
  voted: Iterable[Voting], heads: Mapping[str, str] = HEADS, kind: tables.Kind = "share"
) -> list[tables.Figure]:
  """A column for every kind of vote or cost, at every k that at least one model has."""
  numbers = sorted({k for v in voted for k in v["at"]})
  sign = 1 if kind == "share" else 0
  return [
    tables.Figure(f"{name}@{k}", f"{head}@{k}", MEANINGS[name].format(k=k), kind, sign)
    for name, head in heads.items()
    for k in numbers
  ]


def _flat(voting: Voting, names: Iterable[str] = HEADS) -> dict[str, object]:
  """The votes of a model as figures of tables.table: {"vote@5": share, "intervals": {...}}."""

  def at_numbers(suffix: str) -> dict[str, object]:
    return {
      f"{kind}@{k}": value
      for kind in names
      if f"{kind}{suffix}" in voting
      for k, value in zip(voting["at"], voting[f"{kind}{suffix}"], strict=True)
    }

  return at_numbers("") | {"intervals": at_numbers("_intervals")}


def _by_family(
  columns: list[tables.Figure], voted: Mapping[str, Voting], colors: Mapping[str, str]
) -> tables.Table:
  """A row for each model and task family."""
  figures, row_colors = {}, {}
  for model, voting in voted.items():
    for family, shares in voting["families"].items():
      name = f"{model}, {tables.readable(family)}"
      figures[name] = _flat({"at": voting["at"], **shares})
      row_colors[name] = colors[model]
  # Rows of several families cannot be compared: no best one is marked.
  columns = [dataclasses.replace(column, sign=0) for column in columns]
  return tables.table(columns, figures, row_colors)
