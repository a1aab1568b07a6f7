"""Early stopping of majority votes, and the verdict of a pair."""

import dataclasses
import random

import pytest

from cot_rm import prompts, voting
from cot_rm.schema import Example, Verdict

ONE, TWO, BAD = "<think>x</think><answer>1</answer>", "<think>x</think><answer>2</answer>", "hm"
EXAMPLE = Example(
  id="a", source="t", task="image_understanding", question="?", responses=("a", "b")
)


@pytest.mark.parametrize(
  "n, texts, decided",
  [
    (5, [ONE, ONE], False),
    (5, [ONE, ONE, ONE], True),
    (5, [ONE, TWO, ONE, ONE], True),
    (5, [ONE, BAD, BAD], False),
    (5, [ONE, ONE, BAD, BAD], True),
    (4, [ONE, ONE], False),  # two others would make it a draw
    (3, [BAD, BAD, BAD], False),
  ],
)
def test_a_vote_is_decided_once_the_missing_ones_cannot_catch_up(n, texts, decided):
  assert voting.Decided([EXAMPLE], grammar="r1_reward", n=n)(0, texts) is decided


def test_both_orders_come_to_what_all_their_votes_would_have():
  """Random votes in random order: stopping changes neither side's majority nor that of both."""
  rng, n, spared = random.Random(0), 7, 0
  lead = lambda texts: texts.count(ONE) - texts.count(TWO)
  sign = lambda x: (x > 0) - (x < 0)
  both = lambda pair: sign(lead(pair[0]) - lead(pair[1]))
  leanings = (ONE, ONE, ONE, TWO), (TWO, TWO, TWO, ONE)  # mostly for one candidate
  for _ in range(300):
    wills = [[rng.choice((*said, BAD)) for _ in range(n)] for said in leanings]
    enough = voting.Decided([EXAMPLE] * 2, grammar="r1_reward", n=n, swapped=True)
    cast, open_ = [[], []], {0, 1}
    while open_:
      place = rng.choice(sorted(open_))
      cast[place].append(wills[place][len(cast[place])])
      if len(cast[place]) == n or enough(place, list(cast[place])):
        open_.remove(place)
    for some, whole in zip(cast, wills, strict=True):
      assert sign(lead(some)) == sign(lead(whole))
    assert both(cast) == both(wills)
    spared += sum(map(len, wills)) - sum(map(len, cast))
  assert spared > 300


def said(answer, p=None):
  return Verdict(answer, reasoning=f"says {answer}", probability=p)


def test_two_orders_that_agree():
  v = voting.combine([said(1, 0.9)], [said(2, 0.7)])
  assert (v.answer, v.consistent, v.votes) == (1, True, (2, 0, 0))
  assert v.probability == pytest.approx(0.8)


def test_two_orders_that_disagree_go_by_probability():
  v = voting.combine([said(1, 0.6)], [said(1, 0.9)])  # the second says: candidate 2
  assert (v.answer, v.consistent, v.votes) == (2, False, (1, 1, 0))
  assert v.probability == pytest.approx(1 - (0.6 + 0.1) / 2)


def test_the_majority_of_votes_wins_and_the_unparsable_are_counted():
  v = voting.combine(
    (said(1, 0.9), said(1, 0.8), said(None)), (said(1, 0.99), said(2, 0.6), said(2, 0.6))
  )
  assert (v.answer, v.votes, v.consistent) == (1, (4, 1, 1), True)


def test_three_votes_against_one_name_the_candidate_that_is_at_least_as_probable():
  """One order has three parsable votes, the other one, whose probability outweighs theirs."""
  v = voting.combine([said(1, 0.55)] * 3, [said(1, 0.99), said(None), said(None)])
  assert (v.answer, v.votes, v.probability) == (1, (3, 1, 2), 0.5)  # mean: 0.415
  v = voting.combine([said(1, 0.9)] * 3, [said(1, 0.99), said(None), said(None)])
  assert v.probability == pytest.approx((3 * 0.9 + 0.01) / 4)


def exchanged(vote):
  return dataclasses.replace(vote, answer=vote.answer and 3 - vote.answer)


def test_answer_and_probability_agree_whatever_the_votes_are():
  rng = random.Random(0)
  for _ in range(2000):
    orders = [
      [
        said(answer, rng.random() if answer else None)
        for answer in rng.choices([1, 2, None], k=rng.randint(1, 5))
      ]
      for _ in range(rng.randint(1, 2))
    ]
    v = voting.combine(*orders)
    if v.answer is None:
      assert v.probability is None and v.votes[:2] == (0, 0)
      continue
    assert v.votes[v.answer - 1] >= v.votes[2 - v.answer] and 0.5 <= v.probability <= 1
    # The same votes about the pair with its candidates exchanged: the other one, equally probable.
    other = voting.combine(*[[exchanged(vote) for vote in votes] for votes in orders])
    assert other.votes == (v.votes.second, v.votes.first, v.votes.unparsable)
    assert other.probability == pytest.approx(v.probability)
    assert other.answer == 3 - v.answer


def test_one_order_leaves_consistency_open():
  v = voting.combine([said(2, 0.8)])
  assert (v.answer, v.consistent, v.probability) == (2, None, 0.8)


def test_one_unparsable_order_is_not_consistent():
  v = voting.combine([said(None)], [said(1, 0.75)])
  assert (v.answer, v.consistent, v.probability) == (2, False, 0.75)


def test_the_reasoning_shown_ends_in_the_answer():
  v = voting.combine([said(1, 0.6), said(2, 0.9), said(2, 0.9)])
  assert (v.answer, v.reasoning, v.error) == (2, "says 2", None)


def test_without_a_parsable_vote_there_is_a_reason_and_no_answer():
  v = voting.combine([Verdict(None, error="no tags")], [Verdict(None, error="empty")])
  assert (v.answer, v.probability, v.votes, v.error) == (None, None, (0, 0, 2), "no tags")


def test_a_text_is_parsed_once_however_often_a_vote_is_looked_at(monkeypatch):
  grammar, parsed = prompts.get("r1_reward"), []
  parse = grammar.parse
  monkeypatch.setattr(grammar, "parse", lambda text, task: parsed.append(text) or parse(text, task))
  enough = voting.Decided([EXAMPLE], grammar="r1_reward", n=5)
  assert [enough(0, [ONE, TWO, ONE][:k]) for k in (1, 2, 3)] == [False] * 3
  assert parsed == [ONE, TWO]
