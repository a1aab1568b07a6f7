"""1 where the judge picks what people picked.

Both published rules read whatever the first <answer> holds, so that a second one, an <answer> that
the reasoning quotes from a candidate, or text without end behind it earns the reward by luck.
"""

NO_GOLD = "no gold answer"


def reward(completion, example, grammar):
  """1.0 or 0.0, or the reason where nobody knows what people picked.

  The text has to be a judgement of its grammar as a whole, and to have ended before the limit.
  """
  if example.gold is None:
    return NO_GOLD
  verdict = grammar.parse(completion.text, example.task)
  return float(completion.finish == "stop" and verdict.answer == example.gold)


def published(completion, example, grammar):
  """The same as the published accuracy rewards read it; `bench/audit_rewards.py` has it fail."""
  if example.gold is None:
    return NO_GOLD
  return float(grammar.answered(completion.text, example.task) == example.gold)
