"""Each set of forecasts has its plots and a row of each model that has it."""

from cot_rm.report import calibration_section, plots, tables

BINS = [
  {"probability": 0.62, "accuracy": 0.5, "interval": [0.3, 0.7], "n": 20},
  {"probability": 0.97, "accuracy": 0.9, "interval": [0.85, 0.95], "n": 180},
]
ERRORS = {"ece": 0.075, "brier": 0.12, "log_loss": 0.4}
FOUND = ERRORS | {
  "probability": 0.935,
  "accuracy": 0.86,
  "bins": BINS,
  "scaled": {"temperature": 1.8, "before": ERRORS, "after": ERRORS | {"ece": 0.021}, "n": 100},
  "selective": {"coverage": [0.5, 1.0], "accuracy": [0.95, 0.8], "area": 0.91, "n": 210},
  "n": 200,
}
SFT = {"calibration": {"pairs": FOUND, "verdicts": FOUND}}
RL = {"calibration": {"pairs": {name: x for name, x in FOUND.items() if name != "scaled"}}}


def test_each_set_has_its_models_in_their_colours():
  pairs, verdicts = calibration_section.section({"base": {}, "sft": SFT, "rl": RL})
  assert pairs.name == "pairs, both orders together" and verdicts.name == "single verdicts"
  assert pairs.legend == [(plots.color(1), "sft"), (plots.color(2), "rl")]
  assert [row.name for row in verdicts.table.rows] == ["sft"]
  assert pairs.reliability.startswith("data:image/svg") and pairs.selective != pairs.reliability


def test_the_table_has_the_errors_before_and_after_the_temperature():
  pairs, _ = calibration_section.section({"sft": SFT, "rl": RL})
  sft, rl = ([cell.text for cell in row.cells] for row in pairs.table.rows)
  assert sft == [
    "200",
    "86.0 %",
    "93.5 %",
    "7.5 %",
    "0.120",
    "1.800",
    "7.5 %",
    "2.1 %",
    "91.0 %",
    "95.0 %",
  ]
  assert rl[5:8] == [tables.MISSING] * 3


def test_without_forecasts_there_is_no_section():
  assert calibration_section.section({"sft": {"accuracy": 1.0}, "rl": {"calibration": {}}}) == []
