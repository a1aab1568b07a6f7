"""1 where the whole chain holds together: scores, sums, totals and verdict follow from each other.

A reward on the verdict alone lets the reasoning before it rot; this one looks at every step that
can be checked without the picture.
"""

import math


def reward(completion, example, grammar):
  """1.0 or 0.0. Raises ValueError where the grammar writes no scores."""
  return float(fault(completion.text, example.task, grammar) is None)


def fault(text, task, grammar):
  """The first thing that is wrong with a chain, in words; None if it holds together.

  The text parses; each dimension scores both candidates once, from 1 to 10, under the task's noun;
  each total adds up the candidate's scores in order and equals their sum; the verdict is for the
  higher total. With equal totals either verdict will do.
  """
  if not hasattr(grammar, "sheet"):
    raise ValueError(
      f"reward 'chain' needs a grammar with scores, 'think' or 'brief'; {grammar.__name__} has none"
    )
  verdict = grammar.parse(text, task)
  if verdict.answer is None:
    return verdict.error
  sheet = grammar.sheet(verdict.reasoning, task)
  if sheet.faults:
    return sheet.faults[0]
  if not sheet.scores:
    return "no scores"
  if sheet.totals is None:
    return "totals missing"
  for side in (0, 1):
    scores = tuple(scored[1 + side] for scored in sheet.scores)
    if not all(1 <= score <= 10 for score in scores):
      return f"candidate {side + 1}: a score is outside 1 to 10"
    if sheet.addends[side] != scores:
      return f"candidate {side + 1}: its total adds up other numbers than its scores"
    if not math.isclose(sum(scores), sheet.totals[side], abs_tol=1e-6):
      return f"candidate {side + 1}: {sheet.totals[side]:g} is not the sum of its scores"
  if sheet.totals[verdict.answer - 1] < sheet.totals[2 - verdict.answer]:
    return "the verdict is for the lower total"
  return None
