"""Accuracies of all models share an axis; a figure that no model has is not drawn."""

import pytest

from cot_rm.report import interval_plots, plots

SFT = {
  "accuracy": 0.7,
  "families": {"a_b": 0.6, "c": 0.8},
  "intervals": {"accuracy": [0.65, 0.75], "families/c": [0.72, 0.9]},
}
RL = {"accuracy": 0.8, "families": {"c": 0.85}, "verdict_slots": 0.75, "order_consistency": None}


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
  """Records (rows, settings) of the plots instead of drawing them."""
  calls = []
  monkeypatch.setattr(plots, "forest", lambda rows, **how: calls.append((rows, how)) or "url")
  return calls


def test_the_overall_accuracy_and_all_families_share_an_axis(drawn):
  found = interval_plots.families({"sft": SFT, "rl": RL})
  assert [one.title for one in found] == ["All", "a b", "c"]
  assert [how["limits"] for _, how in drawn] == [pytest.approx((0.58, 0.92))] * 3
  blue, orange = plots.color(0), plots.color(1)
  assert drawn[0][0] == [("sft", 0.7, [0.65, 0.75], blue), ("rl", 0.8, None, orange)]
  assert drawn[1][0] == [("sft", 0.6, None, blue)]


def test_the_families_of_a_single_model_are_in_one_plot(drawn):
  (one,) = interval_plots.families({"sft": SFT})
  assert one.title == "sft"
  assert [row[:2] for row in drawn[0][0]] == [("all", 0.7), ("a b", 0.6), ("c", 0.8)]


def test_the_axis_of_position_bias_is_centred_at_a_half(drawn):
  (plot,) = interval_plots.position_bias({"sft": SFT, "rl": RL})
  assert plot.title == "Verdicts for the first candidate"
  rows, how = drawn[0]
  assert rows == [("rl", 0.75, None, plots.color(1))] and how["level"] == 0.5
  assert how["limits"] == (pytest.approx(0.23), pytest.approx(0.77))


def test_a_difference_of_accuracies_has_its_axis_around_zero(drawn):
  bias = {"families": {}, "position_bias": -0.2, "intervals": {"position_bias": [-0.3, -0.1]}}
  (plot,) = interval_plots.position_bias({"sft": bias})
  assert plot.title == "Position bias" and drawn[0][1]["level"] == 0
  assert drawn[0][1]["limits"] == (pytest.approx(-0.32), pytest.approx(0.32))


def test_accuracies_by_length_are_of_models_that_judged_texts(drawn):
  texts = {"families": {}, "accuracy_longer": 0.9, "accuracy_shorter": 0.4}
  found = interval_plots.lengths({"sft": SFT, "rl": texts})
  assert [one.title for one in found] == ["Better text longer", "Better text shorter"]
  assert drawn[1][0] == [("rl", 0.4, None, plots.color(1))]


def test_without_models_nothing_is_drawn(drawn):
  assert interval_plots.families({}) == [] and interval_plots.position_bias({}) == [] and not drawn
