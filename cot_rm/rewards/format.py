"""1 where the text has the form that its grammar's published format reward asks for."""


def reward(completion, example, grammar):
  """1.0 or 0.0. Form does not depend on the question."""
  return float(grammar.formatted(completion.text))
