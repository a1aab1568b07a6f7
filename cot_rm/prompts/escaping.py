"""Prompts of two readings: texts that hold what stands between two fields of their template.

A candidate that holds a new line and "Answer 2: " makes a prompt that is also another pair's, and
no judge can tell the two. `ambiguous` finds such pairs; an `Escaped` grammar marks the separators
in their texts.
"""

import dataclasses
import re
from typing import Literal

from cot_rm.prompts.interface import Grammar
from cot_rm.prompts.template import Inverted
from cot_rm.schema import TASKS, Choice, Example, Media, Message, Task, Verdict

SUFFIX = ":escaped"
_FIELDS = ("<<question>>", "<<first>>", "<<second>>")  # stand-ins for the texts of a pair


def ambiguous(grammar: Grammar, example: Example) -> bool:
  """Whether another pair of texts, with the same media, has the same prompt in this grammar."""
  ways = grammar.invert(_text(grammar.render(example)), example.task)
  return sum(all(text.strip() for text in way.responses) for way in ways) > 1


@dataclasses.dataclass(frozen=True)
class Escaped:
  """A grammar in which each prompt is that of one pair.

  A backslash is put in front of each separator of the template, and of each run of backslashes in
  front of one, that a question or a candidate holds. Other texts stay as they are.
  """

  grammar: Grammar

  @property
  def __name__(self) -> str:  # type: ignore[override]
    return self.grammar.__name__ + SUFFIX

  @property
  def WRITES_SCORES(self) -> bool:
    return self.grammar.WRITES_SCORES

  def render(self, example: Example) -> list[Message]:
    """The chat with escaped texts."""
    pattern = _separators(self.grammar, example.task)
    if pattern is None:
      return self.grammar.render(example)
    escape = lambda text: pattern.sub(lambda found: found[0] + "\\", text)
    escaped = dataclasses.replace(
      example,
      question=escape(example.question),
      responses=tuple(map(escape, example.responses)),
    )
    return self.grammar.render(escaped)

  def invert(self, prompt: str, task: Task) -> list[Inverted]:
    """Every question and answers from which render() makes this prompt."""
    pattern = _separators(self.grammar, task)
    found = self.grammar.invert(prompt, task)
    if pattern is None:
      return found
    plain = lambda text: pattern.sub(lambda match: match[0][1:], text)
    bare = lambda text: any(not match[0] for match in pattern.finditer(text))
    return [
      Inverted(plain(question), tuple(map(plain, responses)))
      for question, responses in found
      if not any(map(bare, (question, *responses)))
    ]

  def parse(self, text: str, task: Task) -> Verdict:
    """The grammar's own."""
    return self.grammar.parse(text, task)

  def solution(self, task: Task, choice: Choice) -> str:
    """The grammar's own."""
    return self.grammar.solution(task, choice)

  def formatted(self, text: str) -> bool:
    """The grammar's own."""
    return self.grammar.formatted(text)

  def answered(self, text: str, task: Task) -> Choice | None:
    """The grammar's own."""
    return self.grammar.answered(text, task)


def _text(messages: list[Message]) -> str:
  """The text of a chat of one user turn."""
  parts = messages[0]["content"]
  assert isinstance(parts, list)
  return parts[-1]["text"]


def _separators(grammar: Grammar, task: Task) -> re.Pattern[str] | None:
  """Pattern of the backslashes, none or more, in front of the first word of a separator of the
  template. None: the template has one field.
  """
  if task not in TASKS or task.endswith("generation"):
    return None
  kind: Literal["image", "video"] = "video" if task.startswith("video") else "image"
  question, first, second = _FIELDS
  example = Example("separators", "", task, question, (Media(kind, b"x"),), (first, second))
  _, *between, _ = re.split("|".join(_FIELDS), _text(grammar.render(example)))
  ways = []
  for separator in between:
    at = re.search(r"[\w#]", separator)
    assert at, f"no word in {separator!r}, which separates the fields of {grammar.__name__}"
    before, word = separator[: at.start()], separator[at.start() :]
    # Look-arounds: separators may share characters.
    ways.append(rf"(?<={re.escape(before)})\\*(?={re.escape(word)})")
  return re.compile("|".join(ways))
