"""Calibration: are verdicts as often right as their probability says? Plots and a table."""

from collections.abc import Mapping
from typing import NamedTuple

from cot_rm.report import plots, tables

NAMES = {  # sets of forecasts, in their order
  "pairs": "pairs, both orders together",
  "verdicts": "single verdicts",
  "voted_pairs": "pairs, all votes together",
}
COLUMNS = (
  tables.Figure("n", "Forecasts", "Verdicts with a probability.", "number"),
  tables.Figure("accuracy", "Accuracy", "Share of right verdicts among them."),
  tables.Figure(
    "probability", "Mean probability", "Above the accuracy: the model is surer than it is right."
  ),
  tables.Figure(
    "ece",
    "ECE",
    "Expected calibration error: mean distance of accuracy and probability, in 20 bins.",
    sign=-1,
  ),
  tables.Figure(
    "brier", "Brier score", "Mean squared error of the probability.", "number", sign=-1
  ),
  tables.Figure(
    "temperature",
    "Temperature",
    "Divides the logits so that the log loss is least, on half of the pairs. Above 1: too sure.",
    "number",
  ),
  tables.Figure("ece_before", "ECE, other half", "Of the other half, as it is."),
  tables.Figure("ece_after", "… at the temperature", "Of the other half, at this temperature."),
  tables.Figure(
    "area",
    "Mean over coverages",
    "Accuracy of the surest answers, mean over all shares of them.",
    sign=1,
  ),
  tables.Figure("half", "Surest half", "Accuracy of the half that the model is surest of.", sign=1),
)
Calibration = Mapping[str, object]  # of one set of forecasts, see benchmarks.calibration


class Part(NamedTuple):
  """A set of forecasts, of all models that have it."""

  name: str
  legend: list[tuple[str, str]]  # (colour, model)
  reliability: str  # URL of the plot
  selective: str  # URL of the plot
  table: tables.Table


def section(summary: tables.Summary) -> list[Part]:
  """The sets of forecasts; empty if no model has any."""
  colors = tables.colors(summary)
  out = []
  for key, name in NAMES.items():
    found = {
      model: figures["calibration"][key]
      for model, figures in summary.items()
      if key in figures.get("calibration", {})
    }
    if found:
      curves = [(one["selective"], colors[model]) for model, one in found.items()]
      out.append(
        Part(
          name,
          [(colors[model], model) for model in found],
          plots.reliability([(one["bins"], colors[model]) for model, one in found.items()]),
          plots.lines([(s["coverage"], s["accuracy"], color, "-") for s, color in curves]),
          tables.table(COLUMNS, {model: _flat(one) for model, one in found.items()}, colors),
        )
      )
  return out


def _flat(found: Calibration) -> dict[str, object]:
  """The figures of a set as those of COLUMNS."""
  out = {name: found[name] for name in ("n", "accuracy", "probability", "ece", "brier")}
  if scaled := found.get("scaled"):
    out["temperature"] = scaled["temperature"]
    out |= {f"ece_{when}": scaled[when]["ece"] for when in ("before", "after")}
  selective = found["selective"]
  half = dict(zip(selective["coverage"], selective["accuracy"], strict=True)).get(0.5)
  return out | {"area": selective["area"], "half": half}
