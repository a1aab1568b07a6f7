"""When a vote needs no more votes."""

import random

import pytest

from cot_rm import voting
from cot_rm.schema import Example

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
