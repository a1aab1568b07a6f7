"""1 where the judge picks the candidate that people picked.

Both published rules read the content of the first <answer>, so that a second <answer>, one that the
reasoning quotes from a candidate, or endless text after it earns the reward by luck.
"""

from cot_rm.prompts import Grammar
from cot_rm.schema import Completion, Example, Verdict

NO_GOLD = "no gold answer"


def reward(
  completion: Completion, verdict: Verdict, example: Example, grammar: Grammar
) -> float | str:
  """1.0 or 0.0, or the reason where the example has no gold answer.

  The whole text must be a judgement of its grammar, and the model must have ended it.
  """
  if example.gold is None:
    return NO_GOLD
  return float(completion.finish == "stop" and verdict.answer == example.gold)


def published(
  completion: Completion, verdict: Verdict, example: Example, grammar: Grammar
) -> float | str:
  """The same by the published accuracy rule; `bench/audit_rewards.py` shows where it fails."""
  if example.gold is None:
    return NO_GOLD
  return float(grammar.answered(completion.text, example.task) == example.gold)
