"""Prompt grammars: the prompt of an example, and the parser of the judge's answer.

To add one: write its module, add its name to `Name`, and add the module to PROMPTS.

The text of a candidate goes into the prompt and nowhere else: parse() reads the model's text alone,
so a candidate that contains tags or control tokens decides nothing. render() passes it on unchanged
in a text part; the processor must not read control tokens out of text parts.
"""

from typing import Literal, Protocol

from cot_rm import registry
from cot_rm.prompts import brief, direct, r1_reward, think
from cot_rm.prompts.template import Inverted
from cot_rm.schema import Choice, Example, Message, Task, Verdict


class Grammar(Protocol):
  """The interface of a grammar module."""

  __name__: str
  # Whether the reasoning scores both candidates by dimension; parse() then sets Verdict.sheet.
  WRITES_SCORES: bool

  def render(self, example: Example) -> list[Message]:
    """The chat: one user turn, media first. Raises ValueError where it cannot be rendered."""
    ...

  def invert(self, prompt: str, task: Task) -> list[Inverted]:
    """Every question and answers from which render() makes this prompt; none: another grammar's."""
    ...

  def parse(self, text: str, task: Task) -> Verdict:
    """The verdict, strictly; a text outside the grammar has no answer, and an error."""
    ...

  def solution(self, task: Task, choice: Choice) -> str:
    """The verdict for a candidate as the grammar writes it."""
    ...

  def formatted(self, text: str) -> bool:
    """Whether the published format reward accepts the text."""
    ...

  def answered(self, text: str, task: Task) -> Choice | None:
    """The choice that the published accuracy reward reads."""
    ...


Name = Literal["r1_reward", "think", "direct", "brief"]
DEFAULT: Name = "think"  # the published grammar that takes all tasks and reasons first
PROMPTS: dict[str, Grammar] = {
  "r1_reward": r1_reward,
  "think": think,
  "direct": direct,
  "brief": brief,
}


def get(name: str) -> Grammar:
  """The grammar's module. Raises ValueError on an unknown name."""
  return registry.lookup(PROMPTS, name, "prompt grammar")
