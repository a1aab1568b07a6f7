"""The `think` grammar asked for in a few words, for models too small to read the whole prompt."""

from cot_rm.prompts import template, think

parse = think.parse
solution = think.solution
formatted = think.formatted
answered = think.answered
sheet = think.sheet


def render(example):
  """Messages with the question alone. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  if example.generation:
    return template.messages(example, f"Caption: {example.question}")
  first, second = example.responses
  return template.messages(
    example, f"Question: {example.question}\nAnswer 1: {first}\nAnswer 2: {second}"
  )
