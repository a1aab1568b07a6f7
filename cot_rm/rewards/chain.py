"""1 where scores, sums, totals and verdict follow from each other.

A reward on the verdict alone lets the reasoning before it degrade; this one checks every step that
can be checked without the picture.
"""

import math

from cot_rm.prompts import Grammar
from cot_rm.schema import Completion, Example, Verdict


def reward(completion: Completion, verdict: Verdict, example: Example, grammar: Grammar) -> float:
  """1.0 or 0.0. Raises ValueError if the grammar writes no scores."""
  if not grammar.WRITES_SCORES:
    raise ValueError(
      f"reward 'chain' needs a grammar with scores, 'think' or 'brief'; {grammar.__name__} has none"
    )
  return float(fault(verdict) is None)


def fault(verdict: Verdict) -> str | None:
  """The first fault of the chain, in words; None if it has none.

  The text parses; each dimension scores both candidates once, from 1 to 10, under the task's noun;
  each total adds up the candidate's scores in order and equals their sum; the verdict is for the
  higher total. Equal totals allow either verdict.
  """
  if verdict.answer is None:
    return verdict.error
  if (sheet := verdict.sheet) is None:
    raise ValueError("verdict.sheet is None; parse the text again to get its scores")
  if sheet.faults:
    return sheet.faults[0]
  if not sheet.scores:
    return "no scores"
  if sheet.totals is None or sheet.addends is None:
    return "totals missing"
  columns = zip(*((first, second) for _, first, second in sheet.scores), strict=True)
  for side, scores in enumerate(columns):
    if not all(1 <= score <= 10 for score in scores):
      return f"candidate {side + 1}: a score is outside 1 to 10"
    if sheet.addends[side] != scores:
      return f"candidate {side + 1}: its total adds up other numbers than its scores"
    if not math.isclose(sum(scores), sheet.totals[side], abs_tol=1e-6):
      return f"candidate {side + 1}: {sheet.totals[side]:g} is not the sum of its scores"
  if sheet.totals[verdict.answer - 1] < sheet.totals[2 - verdict.answer]:
    return "the verdict is for the lower total"
  return None
