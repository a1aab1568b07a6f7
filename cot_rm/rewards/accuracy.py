"""1 where the judge picks what people picked, read as the published accuracy reward reads."""

import math


def reward(completions, examples, grammar):
  """1.0 or 0.0 for each completion; NaN where nobody knows which candidate people picked."""
  return [
    math.nan
    if example.gold is None
    else float(grammar.answered(completion.text, example.task) == example.gold)
    for completion, example in zip(completions, examples, strict=True)
  ]
