"""1 where the text has the form that its grammar's published format reward asks for."""


def reward(completions, examples, grammar):
  """1.0 or 0.0 for each completion."""
  del examples  # form does not depend on the question
  return [float(grammar.formatted(completion.text)) for completion in completions]
