"""R1-Reward's grammar: two texts compared, the choice a bare number (arXiv:2505.02835, table 1)."""

import re

from cot_rm.prompts import tags, template

_CHOICE = "([12])"
_FORMAT = re.compile(r"^<think>.*?</think><answer>.*?</answer>$", re.DOTALL)


def render(example):
  """Messages for a pair of texts. Raises ValueError where the candidates are pictures or empty."""
  template.check(example)
  if example.generation:
    raise ValueError(
      f"example {example.id!r}: grammar 'r1_reward' compares two texts, and the "
      f"candidates of {example.task} are media; use 'think', 'direct' or 'brief'"
    )
  values = {
    "question": example.question,
    "answer1": example.responses[0],
    "answer2": example.responses[1],
  }
  return template.messages(example, template.fill(template.text("r1_reward"), values))


def parse(text, task):
  """The verdict, strictly; `task` changes nothing.

  White space between </think> and <answer> costs the format reward and not the verdict: upstream's
  inference reads the <answer> wherever it stands, and a sample in the paper itself has the space.
  """
  return tags.verdict(text, _CHOICE)


def solution(task, choice):
  """ "1" or "2"."""
  if choice not in (1, 2):
    raise ValueError(f"choice is 1 or 2, not {choice!r}")
  return str(choice)


def formatted(text):
  """Upstream's format rule: the tags meet without a character between, each opens once."""
  text = text.strip()
  return bool(_FORMAT.match(text)) and text.count("<think>") == 1 and text.count("<answer>") == 1


def answered(text, task):
  """What the first <answer> holds, if that is exactly "1" or "2".

  Upstream reads the whole response where the tag is missing, forgives prefixes such as "The answer
  is", and counts an exception as right. Here each of these is no answer.
  """
  return tags.first(text, _CHOICE)
