"""The `think` grammar with a prompt of a few words, for models too small to read the whole one."""

from cot_rm.prompts import template, think
from cot_rm.schema import Example, Message

WRITES_SCORES: bool = think.WRITES_SCORES
parse = think.parse
solution = think.solution
formatted = think.formatted
answered = think.answered


def render(example: Example) -> list[Message]:
  """Messages with the question alone. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  if example.generation:
    return template.messages(example, f"Caption: {example.question}")
  first, second = example.responses
  return template.messages(
    example, f"Question: {example.question}\nAnswer 1: {first}\nAnswer 2: {second}"
  )
