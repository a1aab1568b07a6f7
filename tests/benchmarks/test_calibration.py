"""Calibration by hand, by scipy, and on forecasts whose truth is known."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.optimize

from cot_rm import voting
from cot_rm.benchmarks import calibration, intervals, rules
from cot_rm.benchmarks.calibration import Forecasts
from cot_rm.schema import Verdict


def forecasts(probability, right, clusters=None):
  probability = np.array(probability, float)
  return Forecasts(
    probability,
    np.array(right, bool),
    np.arange(len(probability)) if clusters is None else np.array(clusters),
  )


@pytest.fixture
def drawn():
  """4,000 forecasts that are right as often as they say, and the same made 2.5 times as sure."""
  rng = np.random.default_rng(0)
  honest = rng.uniform(0.5, 0.999, 4000)
  right = rng.random(4000) < honest
  logit = np.log(honest / (1 - honest))
  return forecasts(honest, right), forecasts(1 / (1 + np.exp(-2.5 * logit)), right)


def test_every_figure_by_hand():
  given = forecasts([0.62, 0.64, 0.9, 1.0, np.nan], [True, False, True, True, False])
  found = calibration.score(given)
  assert found["n"] == 4
  assert found["ece"] == pytest.approx((abs(0.62 + 0.64 - 1) + 0.1 + 0) / 4, abs=1e-6)
  assert found["brier"] == pytest.approx((0.38**2 + 0.64**2 + 0.1**2) / 4, abs=1e-6)
  log_loss = -(np.log(0.62) + np.log(0.36) + np.log(0.9)) / 4
  assert found["log_loss"] == pytest.approx(log_loss, abs=1e-6)
  assert found["accuracy"] == 0.75 and found["probability"] == pytest.approx(0.79)
  assert [b["n"] for b in found["bins"]] == [2, 1, 1]  # from 0.6, 0.9 and 0.95 on
  assert found["bins"][0] == {
    "probability": pytest.approx(0.63),
    "accuracy": 0.5,
    "interval": intervals.share([1, 0], [0, 1]),
    "n": 2,
  }


def test_the_calibration_error_is_guo_s_formula_over_bins(drawn):
  for given in drawn:
    p, right = given.probability_N, given.right_N
    total = 0.0
    for k in range(calibration.BINS):
      some = (p >= k / calibration.BINS) & (p < (k + 1) / calibration.BINS)
      if some.any():
        total += some.sum() / len(p) * abs(right[some].mean() - p[some].mean())
    assert calibration.errors(given)["ece"] == pytest.approx(total, abs=1e-6)


def test_honest_forecasts_have_little_error_and_overconfident_ones_much(drawn):
  honest, sure = map(calibration.score, drawn)
  assert honest["ece"] < 0.02 < 0.1 < sure["ece"]
  assert honest["brier"] < sure["brier"] and honest["log_loss"] < sure["log_loss"]
  assert sure["accuracy"] < sure["probability"]


def test_the_temperature_undoes_what_made_forecasts_too_sure(drawn):
  honest, sure = map(calibration.score, drawn)
  assert honest["scaled"]["temperature"] == pytest.approx(1, abs=0.1)
  assert sure["scaled"]["temperature"] == pytest.approx(2.5, abs=0.2)
  before, after = sure["scaled"]["before"], sure["scaled"]["after"]
  assert after["ece"] < 0.03 < before["ece"] and after["log_loss"] < before["log_loss"]
  assert 1900 < sure["scaled"]["n"] < 2100


def test_the_temperature_is_scipy_s_minimum_of_the_log_loss(drawn):
  _, sure = drawn

  def loss(t):
    p = calibration.scale(sure.probability_N, t)
    return -np.log(np.where(sure.right_N, p, 1 - p)).mean()

  theirs = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 10), method="bounded")
  ours = calibration.temperature(sure.probability_N, sure.right_N)
  assert ours == pytest.approx(theirs.x, rel=1e-4)


def test_the_temperature_of_verdicts_that_are_all_right_stays_in_its_bounds():
  p = np.linspace(0.6, 0.9, 10)
  assert calibration.temperature(p, np.ones(10, bool)) == pytest.approx(0.05)
  assert calibration.temperature(p, np.zeros(10, bool)) == pytest.approx(20)


def test_no_cluster_is_in_both_halves():
  """Clusters of opposite truths: whichever half is fitted, the other one has the other truth."""
  truths = np.repeat([True, False], 100)
  found = calibration.score(forecasts([0.8] * 200, truths, truths))
  scaled = found["scaled"]
  assert scaled["n"] == 100 and scaled["temperature"] in (pytest.approx(0.05), pytest.approx(20))
  assert scaled["after"]["log_loss"] > scaled["before"]["log_loss"] + 0.3
  assert "scaled" not in calibration.score(forecasts([0.8, 0.7], [1, 0], [0, 0]))


def test_accuracy_of_the_surest_is_the_mean_over_all_orders_of_equal_ones():
  p, right = [0.9, 0.7, 0.7, 0.7, np.nan], [True, True, False, False, False]
  found = calibration.selective(forecasts(p, right))
  orders = [[right[0], *some, right[4]] for some in itertools.permutations(right[1:4])]
  curve = (np.cumsum(orders, axis=1) / np.arange(1, 6)).mean(0)
  at = [int(np.ceil(round(c * 5, 9))) - 1 for c in found["coverage"]]
  assert found["accuracy"] == pytest.approx(curve[at], abs=1e-6)
  assert found["area"] == pytest.approx(curve.mean(), abs=1e-6)
  assert found["coverage"][-1] == 1 and found["accuracy"][-1] == 0.4 and found["n"] == 5


def test_who_knows_what_it_does_not_know_gains_by_abstaining(drawn):
  honest, _ = drawn
  found = calibration.selective(honest)
  assert found["accuracy"] == sorted(found["accuracy"], reverse=True)
  assert found["area"] > found["accuracy"][-1] + 0.05


@pytest.fixture
def judged(example, says):
  """`(gold, (answer, probability)...) -> judgement`."""

  def make(gold, *verdicts, swapped=False):
    shown = example(gold).swapped() if swapped else example(gold)
    verdicts = tuple(Verdict(answer, probability=p) for answer, p in verdicts)
    made = says(shown, *(v.answer for v in verdicts))
    return dataclasses.replace(made, verdicts=verdicts)

  return make


def test_forecasts_of_verdicts_and_of_pairs_by_hand(judged):
  given = [judged(1, (1, 0.9)), judged(2, (1, 0.6)), None, judged(1, (None, None))]
  swapped = [
    judged(1, (2, 0.7), swapped=True),  # the same candidate
    judged(2, (1, 0.8), swapped=True),  # the other one
    judged(1, (2, 0.75), swapped=True),
    judged(1, (None, None), swapped=True),
  ]
  single = calibration.of_verdicts(given, swapped, rules.Rule())
  assert single.probability_N == pytest.approx(
    [0.9, 0.6, np.nan, 0.7, 0.8, 0.75, np.nan], nan_ok=True
  )
  assert single.right_N.tolist() == [True, False, False, True, True, True, False]
  assert single.cluster_N.tolist() == [0, 1, 3, 0, 1, 2, 3]
  paired = calibration.of_pairs(given, swapped, rules.Rule(), voting.combine)
  assert paired.probability_N == pytest.approx([0.8, 0.6, 0.75, np.nan], nan_ok=True)
  assert paired.right_N.tolist() == [True, True, True, False]


def test_all_votes_of_a_pair_make_one_forecast(judged):
  given = [judged(1, (1, 0.9), (2, 0.6), (1, 0.8))]
  paired = calibration.of_pairs(given, [None], rules.Rule(), voting.combine)
  assert paired.probability_N == pytest.approx([(0.9 + 0.4 + 0.8) / 3])


def test_sets_without_a_probability_are_left_out_and_all_others_are_defined(judged):
  some = forecasts([0.8] * 8, [True] * 8)
  none = forecasts([np.nan], [False])
  found, words = calibration.figures({"pairs": some, "verdicts": none}, "in both orders")
  assert [*found] == ["pairs"]
  assert {name: said["n"] for name, said in words.items()} == {
    "ece/pairs": 8,
    "brier/pairs": 8,
    "log_loss/pairs": 8,
    "selective/pairs": 8,
    "temperature/pairs": 4,
  }
