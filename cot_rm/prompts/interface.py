"""The interface of a grammar module."""

from typing import Protocol

from cot_rm.prompts.template import Inverted
from cot_rm.schema import Choice, Example, Message, Task, Verdict


class Grammar(Protocol):
  """A module of this folder with these members."""

  @property
  def __name__(self) -> str: ...

  @property
  def WRITES_SCORES(self) -> bool:
    """Whether the reasoning scores both candidates; parse() then sets Verdict.sheet."""
    ...

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

  def unreasoned(self, task: Task, choice: Choice) -> str:
    """The shortest whole answer for a candidate: no reasoning, and the verdict. parse() reads it.

    Up to the digit of the choice it is the same for both candidates.
    """
    ...

  def formatted(self, text: str) -> bool:
    """Whether the published format reward accepts the text."""
    ...

  def answered(self, text: str, task: Task) -> Choice | None:
    """The choice that the published accuracy reward reads."""
    ...
