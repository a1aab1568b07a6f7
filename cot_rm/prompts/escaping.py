"""Prompts of two readings: texts that hold what stands between two fields of their template.

A candidate that holds a new line and "Answer 2: " makes a prompt that is also another pair's, and
no judge can tell the two. `ambiguous` finds such pairs; an `Escaped` grammar marks the separators
in their texts.
"""

import dataclasses
import re
from typing import Literal

from cot_rm.prompts import template
from cot_rm.prompts.interface import Grammar
from cot_rm.prompts.template import Inverted
from cot_rm.schema import TASKS, Choice, Example, Media, Message, Task, Verdict

SUFFIX = ":escaped"
_NAMES = ("question", "first", "second")
_FIELDS = tuple(f"{{{name}}}" for name in _NAMES)  # stand-ins for the texts of a pair
_MEDIUM = "\0"  # stands for a picture or video between texts


def ambiguous(grammar: Grammar, example: Example) -> bool:
  """Whether another pair of texts, with the same media, has the same prompt in this grammar."""
  chat = grammar.render(example)
  if not example.places:
    ways = grammar.invert(_text(chat), example.task)
  elif example.generation:  # the last two media are the candidates, whatever the texts hold
    return False
  else:
    form = _text(grammar.render(_stand_in(example.task, mixed=True)))
    ways = template.invert(form, _NAMES, _text(chat, medium=_MEDIUM))
    pattern = isinstance(grammar, Escaped) and _separators(grammar, example.task, mixed=True)
    if pattern:
      ways = [way for way in ways if not _bare(pattern, way)]
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
    if example.places:
      self.grammar.render(example)  # a grammar that cannot says so here, and names the example
    pattern = _separators(self.grammar, example.task, mixed=bool(example.places))
    if pattern is None:
      return self.grammar.render(example)
    escape = lambda text: pattern.sub(lambda found: found[0] + "\\", text)
    moved = lambda text, places: tuple(
      place + sum(found.end() < place for found in pattern.finditer(text)) for place in places
    )
    texts = (example.question, *example.responses)
    question, *responses = map(escape, texts)
    escaped = dataclasses.replace(
      example,
      question=question,
      responses=tuple(responses),
      places=tuple(map(moved, texts, example.places)),
    )
    return self.grammar.render(escaped)

  def invert(self, prompt: str, task: Task) -> list[Inverted]:
    """Every question and answers from which render() makes this prompt."""
    pattern = _separators(self.grammar, task)
    found = self.grammar.invert(prompt, task)
    if pattern is None:
      return found
    plain = lambda text: pattern.sub(lambda match: match[0][1:], text)
    return [
      Inverted(plain(way.question), tuple(map(plain, way.responses)))
      for way in found
      if not _bare(pattern, way)
    ]

  def parse(self, text: str, task: Task) -> Verdict:
    """The grammar's own."""
    return self.grammar.parse(text, task)

  def solution(self, task: Task, choice: Choice) -> str:
    """The grammar's own."""
    return self.grammar.solution(task, choice)

  def unreasoned(self, task: Task, choice: Choice) -> str:
    """The grammar's own."""
    return self.grammar.unreasoned(task, choice)

  def formatted(self, text: str) -> bool:
    """The grammar's own."""
    return self.grammar.formatted(text)

  def answered(self, text: str, task: Task) -> Choice | None:
    """The grammar's own."""
    return self.grammar.answered(text, task)


def _text(messages: list[Message], medium: str = "") -> str:
  """The text of a chat of one user turn, with `medium` in place of its pictures and videos."""
  parts = messages[0]["content"]
  assert isinstance(parts, list)
  return "".join(part.get("text", medium) for part in parts)


def _bare(pattern: re.Pattern[str], way: Inverted) -> bool:
  """Whether a text holds a separator that is not escaped."""
  texts = (way.question, *way.responses)
  return any(not found[0] for text in texts for found in pattern.finditer(text))


def _stand_in(task: Task, *, mixed: bool) -> Example:
  """A pair of answers whose texts are _FIELDS."""
  kind: Literal["image", "video"] = "video" if task.startswith("video") else "image"
  question, *responses = _FIELDS
  places = ((0,), (), ()) if mixed else ()
  media = (Media(kind, b"x"),)
  return Example("separators", "", task, question, media, tuple(responses), places=places)


def _separators(grammar: Grammar, task: Task, *, mixed: bool = False) -> re.Pattern[str] | None:
  """Pattern of the backslashes, none or more, in front of the first word of a separator of the
  template. None: the template has one field with a text.

  mixed: of the template for pairs that mix texts and media.
  """
  if task not in TASKS or task.endswith("generation"):
    return None
  form = _text(grammar.render(_stand_in(task, mixed=mixed)))
  _, *between, _ = re.split("|".join(map(re.escape, _FIELDS)), form)
  ways = []
  for separator in between:
    at = re.search(r"[\w#]", separator)
    assert at, f"no word in {separator!r}, which separates the fields of {grammar.__name__}"
    before, word = separator[: at.start()], separator[at.start() :]
    # Look-arounds: separators may share characters.
    ways.append(rf"(?<={re.escape(before)})\\*(?={re.escape(word)})")
  return re.compile("|".join(ways))
