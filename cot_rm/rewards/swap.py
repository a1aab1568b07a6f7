"""Agreement with the samples of the other order: one pair, asked both ways, has one winner."""

import collections
from collections.abc import Sequence

from cot_rm.prompts import Grammar
from cot_rm.rewards import each
from cot_rm.schema import Completion, Example, Verdict

NO_PARTNER = "the other order of the pair was not asked"
UNPARSED = "no sample of the other order has a verdict"


def reward(
  completions: Sequence[Completion],
  verdicts: Sequence[Verdict],
  examples: Sequence[Example],
  grammar: Grammar,
  ask: each.Ask | None,
) -> list[float | str]:
  """The share of the other order's verdicts that name the sample's winner, from 0 to 1.

  The other order is the example of the same id whose extra["swapped"] differs; its samples outside
  the grammar do not count. A sample outside the grammar names no winner: 0.0. The value is the
  reason if the other order was not asked, or has no verdict at all.
  """
  orders = [(example.id, bool(example.extra.get("swapped", False))) for example in examples]
  named: dict[tuple[str, bool], list[int]] = collections.defaultdict(list)
  for order, verdict in zip(orders, verdicts, strict=True):
    named[order] += [] if verdict.answer is None else [verdict.answer]
  out: list[float | str] = []
  for (name, swapped), verdict in zip(orders, verdicts, strict=True):
    other = named.get((name, not swapped))
    if not other:
      out.append(NO_PARTNER if other is None else UNPARSED)
    else:
      # Candidate 1 of one order is candidate 2 of the other.
      right = 0 if verdict.answer is None else other.count(3 - verdict.answer)
      out.append(right / len(other))
  return out
