"""R1-Reward's grammar: two texts compared, the choice a bare number (arXiv:2505.02835, table 1)."""

import re

from cot_rm.prompts import tags, template
from cot_rm.schema import BadExample, Choice, Example, Message, Task, Verdict

WRITES_SCORES: bool = False
_CHOICE = "([12])"
_FORMAT = re.compile(r"^<think>.*?</think><answer>.*?</answer>$", re.DOTALL)


def render(example: Example) -> list[Message]:
  """Messages for a pair of texts. Raises ValueError where the candidates are pictures or empty."""
  template.check(example)
  if example.generation:
    raise BadExample(
      f"example {example.id!r}: grammar 'r1_reward' compares two texts, and the "
      f"candidates of {example.task} are media; use 'think', 'direct' or 'brief'"
    )
  if example.places:
    raise BadExample(
      f"example {example.id!r}: grammar 'r1_reward' compares two texts, and this pair mixes texts "
      "and media; use 'think', 'direct' or 'brief'"
    )
  values = {
    "question": example.question,
    "answer1": example.responses[0],
    "answer2": example.responses[1],
  }
  return template.messages(example, template.fill(template.text("r1_reward"), values))


def invert(prompt: str, task: Task) -> list[template.Inverted]:
  """Every way in which render() makes this prompt."""
  if task.endswith("generation"):
    return []
  return template.invert(template.text("r1_reward"), ("question", "answer1", "answer2"), prompt)


def parse(text: str, task: Task) -> Verdict:
  """The verdict, strictly; it does not depend on `task`.

  White space between </think> and <answer> costs the format reward but not the verdict: upstream's
  inference reads the <answer> at any position, and a sample in the paper has the space.
  """
  return tags.verdict(text, _CHOICE)


def solution(task: Task, choice: Choice) -> str:
  """ "1" or "2"."""
  if choice not in (1, 2):
    raise ValueError(f"choice is 1 or 2, not {choice!r}")
  return str(choice)


def unreasoned(task: Task, choice: Choice) -> str:
  """An empty reasoning and the digit, without the white space that costs the format reward."""
  return f"<think></think><answer>{solution(task, choice)}</answer>"


def formatted(text: str) -> bool:
  """Upstream's format rule: the tags meet without a character between, each opens once."""
  text = text.strip()
  return bool(_FORMAT.match(text)) and text.count("<think>") == 1 and text.count("<answer>") == 1


def answered(text: str, task: Task) -> Choice | None:
  """The content of the first <answer>, if it is exactly "1" or "2".

  Upstream reads the whole response if the tag is missing, accepts prefixes such as "The answer is",
  and counts an exception as right. Here each of these is no answer.
  """
  return tags.first(text, _CHOICE)
