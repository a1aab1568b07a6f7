"""The `think` grammar with a prompt of a few words, for models too small to read the whole one."""

from cot_rm.prompts import template, think
from cot_rm.schema import Example, Message, Task

WRITES_SCORES: bool = think.WRITES_SCORES
parse = think.parse
solution = think.solution
unreasoned = think.unreasoned
formatted = think.formatted
answered = think.answered

_GENERATION = "Caption: {prompt}"
_UNDERSTANDING = "Question: {Query}\nAnswer 1: {R1}\nAnswer 2: {R2}"
_MIXED = "Question: {Query}\n{Noun} 1: {R1}\n{Noun} 2: {R2}"


def render(example: Example) -> list[Message]:
  """Messages with the question alone. Raises ValueError on an example that cannot be judged."""
  template.check(example)
  if example.places:
    return template.mixed_messages(example, think.mixed(_MIXED, example.task))
  prompt = template.fill(_text(example.task), template.fields(example))
  return template.messages(example, prompt)


def invert(prompt: str, task: Task) -> list[template.Inverted]:
  """Every way in which render() makes this prompt."""
  return template.invert(_text(task), template.names(task), prompt)


def _text(task: Task) -> str:
  return _GENERATION if task.endswith("generation") else _UNDERSTANDING
