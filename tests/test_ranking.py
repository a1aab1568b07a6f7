"""Rankings of several candidates: strengths against other solvers, and tournaments of few pairs."""

import itertools
import math

import numpy as np
import pytest
from scipy import optimize

from cot_rm import ranking
from cot_rm.ranking import Comparison, Tournament, fit


def play(count, compare, **how):
  """The ranking of a tournament whose pairs `compare(i, j)` decides, and its batches."""
  tournament, batches = Tournament(count, **how), []
  while pairs := tournament.next_pairs():
    batches.append(pairs)
    tournament.tell([compare(i, j) for i, j in pairs])
  return tournament.ranking(), batches


def sure(i, j):
  """A judge that never errs: the higher index is better."""
  return Comparison(i, j, float(i > j))


def noisy(truth, rng, noise=1.0, bias=0.3):
  """A judge with noise and a liking for the first place; one verdict for each order of a pair."""
  table = {}
  for i, j in itertools.combinations(range(len(truth)), 2):
    leads = [truth[i] - truth[j] + side * bias + noise * rng.logistic() for side in (1, -1)]
    table[i, j] = float(np.mean([1 / (1 + math.exp(-4 * lead)) for lead in leads]))

  def compare(i, j):
    return Comparison(i, j, table[i, j]) if i < j else Comparison(i, j, 1 - table[j, i])

  return compare


def test_two_candidates_have_the_odds_of_their_comparison():
  found = fit(2, [Comparison(0, 1, 0.75)], prior_sd=1e4)
  assert found.strengths_N == pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=1e-6)
  # The information of two answers at 3 to 1 is 2 * 0.75 * 0.25; each strength is half the lead.
  assert found.covariance_NN[0, 0] == pytest.approx(1 / (2 * 0.75 * 0.25) / 4, rel=1e-5)


def test_without_comparisons_all_are_equal_with_the_error_of_the_prior():
  found = fit(3, [])
  assert found.strengths_N.tolist() == [0, 0, 0]
  assert np.diag(found.covariance_NN) == pytest.approx(ranking.PRIOR_SD**2 * (1 - 1 / 3))


@pytest.mark.parametrize("seed", range(5))
def test_the_strengths_are_those_that_a_general_optimizer_finds(seed):
  rng = np.random.default_rng(seed)
  every = [*itertools.combinations(range(6), 2)]
  some = [every[k] for k in rng.permutation(len(every))[:9]]
  comparisons = [
    Comparison(i, j, float(rng.choice([0, 0.3, 0.5, 1])), int(rng.integers(1, 3))) for i, j in some
  ]

  def loss(strengths):
    total = (strengths**2).sum() / (2 * ranking.PRIOR_SD**2)
    for c in comparisons:
      p = 1 / (1 + math.exp(strengths[c.second] - strengths[c.first]))
      total -= c.orders * (c.probability * math.log(p) + (1 - c.probability) * math.log(1 - p))
    return total

  expected = optimize.minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
  found = fit(6, comparisons)
  assert found.strengths_N == pytest.approx(expected, abs=1e-5)
  # The covariance is the inverse of the curvature, here by finite differences.
  step, eye = 1e-4, np.eye(6)
  curvature = np.array(
    [
      [
        loss(expected + step * (a + b))
        - loss(expected + step * (a - b))
        - loss(expected - step * (a - b))
        + loss(expected - step * (a + b))
        for b in eye
      ]
      for a in eye
    ]
  ) / (4 * step**2)
  centred = eye - 1 / 6
  expected = centred @ np.linalg.inv(curvature) @ centred
  assert found.covariance_NN == pytest.approx(expected, abs=1e-3)


def test_expected_wins_are_the_wins_where_the_prior_says_nothing():
  # The defining property of the Bradley-Terry estimate (Zermelo 1929).
  rng = np.random.default_rng(0)
  comparisons = [
    Comparison(i, j, rng.uniform(0.2, 0.8)) for i, j in itertools.combinations(range(5), 2)
  ]
  strengths = fit(5, comparisons, prior_sd=1e5).strengths_N
  for i in range(5):
    wins = sum(
      c.probability if c.first == i else 1 - c.probability for c in comparisons if i in c.pair
    )
    others = [j for j in range(5) if j != i]
    expected = sum(1 / (1 + math.exp(strengths[j] - strengths[i])) for j in others)
    assert expected == pytest.approx(wins, abs=1e-6)


def test_the_standard_error_is_the_spread_of_the_strengths_over_repetitions():
  truth = np.array([0.9, 0.3, -0.2, -1.0])
  pairs = [*itertools.combinations(range(4), 2)] * 40
  rng, found = np.random.default_rng(0), []
  for _ in range(200):
    p = [1 / (1 + math.exp(truth[j] - truth[i])) for i, j in pairs]
    wins = (rng.random(len(pairs)) < p).astype(float)
    found.append(fit(4, [Comparison(i, j, w, 1) for (i, j), w in zip(pairs, wins, strict=True)]))
  spread = np.std([f.strengths_N for f in found], axis=0)
  said = np.mean([np.sqrt(np.diag(f.covariance_NN)) for f in found], axis=0)
  assert said == pytest.approx(spread, rel=0.15)
  assert np.mean([f.strengths_N for f in found], axis=0) == pytest.approx(truth, abs=0.06)


def test_who_wins_everything_has_a_finite_strength():
  ranked, _ = play(5, sure, method="round_robin")
  assert ranked.order == (4, 3, 2, 1, 0) and np.isfinite(ranked.strengths).all()
  assert sum(ranked.strengths) == pytest.approx(0, abs=1e-9)


def test_exchanged_candidates_of_a_comparison_are_the_same_comparison():
  one = fit(3, [Comparison(0, 1, 0.9), Comparison(1, 2, 0.6, 1)]).strengths_N
  other = fit(3, [Comparison(1, 0, 0.1), Comparison(2, 1, 0.4, 1)]).strengths_N
  assert one == pytest.approx(other)


@pytest.mark.parametrize("method", ranking.METHODS)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 13])
def test_a_judge_that_never_errs_has_its_best_candidate_found(count, method):
  for seed in range(5):
    ranked, batches = play(count, sure, method=method, seed=seed)
    assert ranked.best == count - 1
    asked = [c.pair for c in ranked.pairs]
    assert len(asked) == len(set(asked)) <= Tournament(count, method=method).max_pairs
    assert ranked.comparisons == 2 * sum(map(len, batches)) and ranked.unreadable == 0


def test_the_most_comparisons_are_those_that_were_said():
  assert ranking.max_pairs(8, "round_robin") == 28
  assert ranking.max_pairs(8, "knockout") == 7
  assert ranking.max_pairs(8, "adaptive") == 12  # 8 log2 8 = 24 comparisons, of 56
  assert ranking.max_pairs(8, "adaptive", 20) == 10
  assert ranking.max_pairs(3, "adaptive", 1000) == 3  # there are no more pairs
  assert [ranking.max_pairs(2, method) for method in ranking.METHODS] == [1, 1, 1]


@pytest.mark.parametrize("goal", ranking.GOALS)
@pytest.mark.parametrize("count", [3, 7, 8, 16])
def test_every_candidate_is_compared_in_the_first_batch_and_batches_hold_several_pairs(count, goal):
  ranked, batches = play(count, sure, goal=goal)
  assert {i for pair in batches[0] for i in pair} == set(range(count))
  assert all(len(batch) == max(count // 4, 1) for batch in batches[1:-1])


def test_half_the_comparisons_find_the_best_nearly_as_often_as_all_of_them():
  hits = {}
  for seed in range(200):
    rng = np.random.default_rng(seed)
    truth = 1.5 * rng.standard_normal(8)
    compare = noisy(truth, rng)
    for method in ("round_robin", "adaptive"):
      ranked, _ = play(8, compare, method=method, seed=seed)
      hits.setdefault(method, []).append(ranked.best == truth.argmax())
  assert np.mean(hits["adaptive"]) >= 0.93 * np.mean(hits["round_robin"])


def test_the_goal_order_orders_better_than_the_goal_best():
  found = {goal: [] for goal in ranking.GOALS}
  for seed in range(60):
    rng = np.random.default_rng(seed)
    truth = 2 * rng.standard_normal(8)
    compare = noisy(truth, rng, noise=0.5)
    for goal, values in found.items():
      ranked, _ = play(8, compare, goal=goal, seed=seed)
      values.append(np.corrcoef(ranked.strengths, truth)[0, 1])
  assert np.mean(found["order"]) > np.mean(found["best"])


def test_in_a_knockout_who_loses_later_is_better():
  ranked, batches = play(8, sure, method="knockout", seed=3)
  assert [len(batch) for batch in batches] == [4, 2, 1]
  (final,) = batches[-1]
  assert set(ranked.order[:2]) == set(final) and ranked.best == 7
  semifinal = {i for pair in batches[1] for i in pair}
  assert set(ranked.order[:4]) == semifinal


def test_pairs_without_a_readable_verdict_say_nothing_and_are_counted():
  unreadable = lambda i, j: Comparison(i, j, None, 0) if 0 in (i, j) else sure(i, j)
  ranked, _ = play(4, unreadable, method="round_robin")
  assert ranked.unreadable == 6 and ranked.comparisons == 12
  assert ranked.strengths[0] == pytest.approx(0, abs=1e-9)
  assert ranked.standard_errors[0] > max(ranked.standard_errors[1:])
  nothing, _ = play(4, lambda i, j: Comparison(i, j, None, 0))
  assert nothing.order == (0, 1, 2, 3) and set(nothing.strengths) == {0}


def test_the_same_seed_asks_the_same_pairs_and_another_one_others():
  truth = np.arange(8.0)
  batches = [play(8, noisy(truth, np.random.default_rng(0)), seed=seed)[1] for seed in (5, 5, 6)]
  assert batches[0] == batches[1] != batches[2]


def test_tournaments_side_by_side_are_each_what_they_are_alone():
  sizes, calls = [3, 8, 5], []

  def compare(asked):
    calls.append(len(asked))
    return [sure(*pair) for _, pair in asked]

  found = ranking.play([Tournament(n, seed=1) for n in sizes], compare)
  assert found == [play(n, sure, seed=1)[0] for n in sizes]
  assert calls[0] == 2 + 4 + 3  # the first batches of all


def test_what_makes_no_tournament_is_refused_with_the_number():
  with pytest.raises(ValueError, match="2 or more candidates; got 1"):
    Tournament(1)
  with pytest.raises(ValueError, match="12 comparisons are too few for 8 candidates: at least 14"):
    Tournament(8, limit=12)
  with pytest.raises(ValueError, match="for method 'adaptive', not 'knockout'"):
    Tournament(8, method="knockout", limit=20)
  with pytest.raises(ValueError, match="adaptve.*adaptive"):
    Tournament(8, method="adaptve")
  with pytest.raises(ValueError, match="goal"):
    Tournament(8, goal="bets")
  with pytest.raises(ValueError, match="prior_sd is 0"):
    fit(2, [], prior_sd=0)
  with pytest.raises(ValueError, match="names candidate 2, and there are 2"):
    fit(2, [sure(0, 2)])
  tournament = Tournament(4)
  tournament.next_pairs()
  with pytest.raises(RuntimeError, match="2 pairs wait"):
    tournament.next_pairs()
  with pytest.raises(ValueError, match="asked were"):
    tournament.tell([])


@pytest.mark.parametrize(
  "wrong", [(1, 1, 0.5, 2), (0, 1, None, 2), (0, 1, 0.5, 0), (0, 1, 1.5, 2), (-1, 1, 0.5, 2)]
)
def test_a_comparison_that_makes_no_sense_is_refused(wrong):
  with pytest.raises(ValueError, match=f"candidates {wrong[0]} and {wrong[1]}"):
    Comparison(*wrong)
