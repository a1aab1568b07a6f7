"""Scores of a pair by the votes about it."""

import math

import pytest

from cot_rm.judge import scoring
from cot_rm.ranking import Comparison
from cot_rm.schema import Sheet, Verdict


def vote(answer, probability=None, scores=()):
  sheet = Sheet(tuple(scores), None, None, ()) if scores else None
  error = None if answer else "no verdict"
  return Verdict(answer, sheet=sheet, probability=probability, error=error)


def test_the_score_is_the_mean_log_odds_over_votes_and_then_over_orders():
  given = [vote(1, 0.75), vote(2, 0.9)]  # P(1): 0.75 and 0.1
  swapped = [vote(1, 0.8)]  # P(1): 0.2
  found = scoring.score(given, swapped)
  first = (math.log(3) - math.log(9)) / 2
  assert found.log_odds == pytest.approx((first - math.log(4)) / 2)
  assert (found.readable, found.asked, found.error) == (3, 3, None)
  assert found.probability == pytest.approx(1 / (1 + math.exp(-found.log_odds)))


def test_exchanged_candidates_have_the_negative_score_and_a_liking_for_a_place_is_zero():
  given, swapped = [vote(1, 0.7), vote(None)], [vote(2, 0.6)]
  one, other = scoring.score(given, swapped), scoring.score(swapped, given)
  assert one.log_odds == pytest.approx(-other.log_odds) and one.log_odds > 0
  assert scoring.score([vote(1, 0.99)], [vote(1, 0.99)]).log_odds == pytest.approx(0, abs=1e-12)


def test_a_clip_of_any_size_has_a_probability():
  for answer, probability in ((1, 1.0), (2, 0.0)):
    found = scoring.score([vote(answer, 1.0)], clip=1e4)
    assert found.log_odds == (1e4 if answer == 1 else -1e4) and found.probability == probability


@pytest.mark.parametrize("clip", [2.0, scoring.CLIP])
def test_certainty_is_clipped_and_never_infinite(clip):
  assert scoring.score([vote(1, 1.0)], clip=clip).log_odds == clip
  assert scoring.score([vote(2, 1.0)], clip=clip).log_odds == -clip
  assert scoring.score([vote(1, 1 - 1e-15)], [vote(2, 1.0)], clip=clip).log_odds == clip


def test_without_a_readable_vote_there_is_no_number_and_a_reason():
  found = scoring.score([vote(None)], [vote(None)])
  assert found.log_odds is None and found.probability is None
  assert (found.readable, found.asked, found.error) == (0, 2, "no verdict")
  half = scoring.score([vote(None)], [vote(2, 0.8)])  # the other order alone
  assert half.log_odds == pytest.approx(math.log(4)) and (half.readable, half.asked) == (1, 2)


def test_dimension_scores_are_about_the_pair_as_given():
  given = [vote(1, 0.9, [("Semantic consistency", 8, 5), ("Aesthetics", 7, 7)])]
  swapped = [vote(2, 0.9, [("Semantic consistency", 4, 10)]), vote(None)]
  found = scoring.score(given, swapped)
  assert found.dimensions == (
    ("Semantic consistency", 9.0, 4.5, 2),
    ("Aesthetics", 7.0, 7.0, 1),
  )


def test_a_clip_that_is_no_number_above_zero_is_refused():
  for clip in (0, -1, math.inf, math.nan):
    with pytest.raises(ValueError, match=f"clip is {clip}; it must be a number above 0"):
      scoring.score([vote(1, 0.9)], clip=clip)


def test_a_comparison_is_the_mean_probability_over_the_readable_orders():
  found = scoring.compared(3, 1, [vote(1, 0.8), vote(2, 0.6)], [vote(2, 0.9)])
  assert found.probability == pytest.approx((0.6 + 0.9) / 2)
  assert (found.first, found.second, found.orders) == (3, 1, 2)
  found = scoring.compared(0, 1, [vote(None)], [vote(1, 0.9)])
  assert found.probability == pytest.approx(0.1) and found.orders == 1
  assert scoring.compared(0, 1, [vote(None)], [vote(None)]) == Comparison(0, 1, None, 0)
