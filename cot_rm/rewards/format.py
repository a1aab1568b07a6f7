"""1 where the text has the form that its grammar's published format reward asks for."""

from cot_rm.prompts import Grammar
from cot_rm.schema import Completion, Example, Verdict


def reward(completion: Completion, verdict: Verdict, example: Example, grammar: Grammar) -> float:
  """1.0 or 0.0; it does not depend on the verdict or the example."""
  return float(grammar.formatted(completion.text))
