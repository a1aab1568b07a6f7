"""How far the samples of the other order agree: one pair, asked both ways, has one winner."""

import collections

from cot_rm.rewards import each

NO_PARTNER = "the other order of the pair was not asked"
UNPARSED = "no sample of the other order has a verdict"


def reward(completions, examples, grammar, ask):
  """For each sample the share of the other order's verdicts that name its winner, from 0 to 1.

  The other order is the example of the same id whose extra["swapped"] differs; its samples outside
  the grammar do not count. A sample that is outside itself names no winner: 0.0. The reason where
  the other order was not asked, or has no verdict at all.
  """
  answers = each.values(_answer, completions, examples, grammar)
  places = [(example.id, bool(example.extra.get("swapped", False))) for example in examples]
  named = collections.defaultdict(list)
  for place, answer in zip(places, answers, strict=True):
    named[place] += [answer] if answer in (1, 2) else []
  out = []
  for (name, swapped), answer in zip(places, answers, strict=True):
    other = named.get((name, not swapped))
    if isinstance(answer, str):
      out.append(answer)
    elif not other:
      out.append(NO_PARTNER if other is None else UNPARSED)
    else:
      # What stands first in one order stands second in the other.
      out.append(0.0 if answer is None else other.count(3 - answer) / len(other))
  return out


def _answer(completion, example, grammar):
  return grammar.parse(completion.text, example.task).answer
