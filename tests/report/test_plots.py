"""Plots are SVGs with their text as text; equal figures give equal plots."""

import base64
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cot_rm.report import plots

BLUE = "#2f5fb3"


def texts(url):
  head, _, body = url.partition(",")
  assert head == "data:image/svg+xml;base64"
  root = ElementTree.fromstring(base64.b64decode(body))
  return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_running_mean_keeps_a_level_curve_level():
  np.testing.assert_allclose(plots.running_mean(np.full(40, 2.5), window=7), 2.5)
  assert abs(plots.running_mean(np.array([1.0, -1.0] * 50), window=10)[20:80]).max() < 0.01


@pytest.mark.parametrize("count", [1, 29, 30, 101, 250])
def test_a_curve_of_any_length_has_a_plot(count):
  url = plots.curves([(range(count), np.linspace(0, 1, count))], level=0.5, share=True)
  assert any(text.endswith(" %") for text in texts(url))


def test_an_axis_is_logarithmic_if_values_are_positive_and_differ_widely():
  plot = lambda values: texts(plots.curves([(range(len(values)), values)], log=True))
  assert {"0.1", "1"} <= set(plot([0.02, 1.0, 4.0]))
  assert "3" not in plot([0.02, 1.0, 4000.0])
  assert "0" in "".join(plot([0.0, 4.0, 8.0])) and "-" not in "".join(plot([2.0, 4.0, 8.0]))


def test_values_that_differ_by_rounding_alone_are_a_flat_line():
  found = texts(plots.curves([(range(40), 1 + 1e-6 * np.sin(np.arange(40)))]))
  assert "1.0000" in found and not any("e" in text for text in found)


def test_the_step_that_compiles_does_not_set_the_scale():
  seconds = np.ones(200)
  seconds[0] = 900.0
  url = plots.stacked_areas(np.arange(200), [seconds, seconds], 2 * seconds)
  assert max(float(text) for text in texts(url)[-4:]) <= 3


def test_names_are_shown_literally_and_long_ones_are_shortened_in_the_middle():
  rows = [
    ("a <b> & $x", 0.5, None, BLUE),
    ("home--user--runs--rl--model", 0.914, [0.9, 0.93], BLUE),
  ]
  found = texts(plots.forest(rows, limits=(0.4, 1.0), level=0.5))
  assert {"a <b> & $x", "home--us…rl--model", "50.0", "91.4"} <= set(found)


def test_parts_that_are_wide_enough_show_their_counts():
  found = texts(plots.stacked_bars([("shapes", [1200, 300, 1])], plots.ramp(3)))
  assert {"shapes", "1,200", "300"} <= set(found) and "1" not in found


def test_the_axis_of_votes_is_labelled_by_their_numbers():
  found = texts(
    plots.points_with_intervals([([1, 5, 15], [0.7, 0.8, 0.9], [[0.6, 0.8]] * 3, BLUE)])
  )
  assert found[:3] == ["1", "5", "15"]


def test_the_same_figures_give_the_same_plot():
  one, two = (plots.curves([([1, 2, 3], [1.0, 2.0, 4.0])]) for _ in range(2))
  assert one == two


def test_colours_repeat_after_the_last_one():
  assert plots.color(len(plots.COLORS)) == plots.color(0)
  assert len(set(plots.ramp(4))) == 4


def test_a_single_step_is_labelled_by_a_whole_number():
  assert "1" in texts(plots.curves([([1], [0.5])])) and "0.95" not in texts(
    plots.curves([([1], [0.5])])
  )


def test_the_reliability_of_a_sure_judge_is_drawn_from_a_half_on():
  bins = [
    {"probability": 0.55, "accuracy": 0.6, "interval": [0.4, 0.8], "n": 10},
    {"probability": 1.0, "accuracy": 0.9, "interval": [0.85, 0.95], "n": 90},
  ]
  found = texts(plots.reliability([(bins, BLUE)]))
  assert {"50 %", "100 %", "0 %"} <= set(found) and found.index("50 %") < found.index("0 %")


def test_accuracy_over_coverage_is_in_per_cent_on_both_axes():
  found = texts(plots.lines([([0.5, 1.0], [0.95, 0.8], BLUE, "-")]))
  assert {"50 %", "100 %", "80 %"} <= set(found)


def test_accuracy_over_tokens_has_numbers_below_it():
  found = texts(plots.lines([([100, 500], [0.7, 0.8], BLUE, ":")], share=False))
  assert {"100", "500", "70 %"} <= set(found)
