"""Renders an example as one user turn: its media, then the filled prompt text.

The media of a pair that mixes texts and media (`Example.places`) stand in the prompt text itself,
where its question and its candidates have them.
"""

import functools
import itertools
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from cot_rm.schema import BadExample, Example, Media, Message, Task, check_text

_TEXTS = pathlib.Path(__file__).parent / "texts"
_MARK = re.compile(r"<(?:image|video)>")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
MIXED_FIELDS = ("Query", "R1", "R2")  # of a template for pairs that mix texts and media
_MOST = 100  # ways in which a prompt is taken apart, at most


class Inverted(NamedTuple):
  """What a prompt was rendered from."""

  question: str
  responses: tuple[str, ...]  # two in understanding tasks


@functools.cache
def text(name: str) -> str:
  """A prompt text, byte for byte; texts/README.md names the source of each."""
  return (_TEXTS / f"{name}.txt").read_bytes().decode()


def fill(template: str, values: dict[str, str]) -> str:
  """Replaces each {field} of `template` by values["field"].

  One pass over the template: braces in a value, and braces without a field's name, are left alone.
  """
  places = "|".join(re.escape(field) for field in values)
  return re.sub(rf"\{{({places})\}}", lambda match: values[match[1]], template)


def check(example: Example) -> None:
  """Raises BadExample, naming the example, where it cannot be rendered for a model.

  Its candidates are missing or empty (Example itself refuses those that do not fit the task), a
  text has half an emoji in it, or the question still has a mark <image> or <video>. Published data
  have such marks where a picture stands; the programs that they were made for replace each by the
  picture. Here the media of an example come first, and a mark that is left would go to the model
  as text. A question about the words themselves has them in code (`<image>`), and a candidate may
  hold them: its text is what a model wrote. A candidate with a picture needs no text.
  """
  where = f"example {example.id!r}"
  check_text(example.question, f"{where}: the question")
  if found := _MARK.search(_CODE.sub("", example.question)):
    raise BadExample(
      f"{where}: the question has the mark {found[0]!r}, which stands for a picture or video; take "
      "it out and put the media into `media`, or write it as code: `<image>`"
    )
  if example.places and not example.media:
    raise BadExample(f"{where}: its media are missing")
  if example.generation:
    if not example.media:
      kind = example.task.split("_")[0]
      raise BadExample(f"{where}: {example.task} compares two media of kind {kind!r}; got none")
    return
  if not example.responses:
    raise BadExample(f"{where}: {example.task} needs two responses; got none")
  for number, response in enumerate(example.responses, 1):
    check_text(response, f"{where}: response {number}")
    if not response.strip() and not example.media_of[number]:
      raise BadExample(f"{where}: response {number} is empty")


def fields(example: Example) -> dict[str, str]:
  """The example's texts under the names that UnifiedReward's prompts use."""
  if example.generation:
    return {"prompt": example.question}
  return {"Query": example.question, "R1": example.responses[0], "R2": example.responses[1]}


def names(task: Task) -> tuple[str, ...]:
  """The names of `fields` in the order in which UnifiedReward's prompts have them."""
  return ("prompt",) if task.endswith("generation") else ("Query", "R1", "R2")


def invert(template: str, fields: tuple[str, ...], prompt: str) -> list[Inverted]:
  """Every way to fill a template so that it becomes `prompt`; none if it is of another template.

  There are several ways where a text holds what stands between two fields.

  Args:
    template: the template.
    fields: names of its fields in their order: that of the question, then those of the answers.
    prompt: a filled template.
  """
  first, *inner, last = _between(template, fields)
  if not prompt.startswith(first) or not prompt.endswith(last):
    return []
  if len(prompt) < len(first) + len(last):
    return []
  body = prompt[len(first) : len(prompt) - len(last)]
  ways = itertools.islice(_splits(body, inner), _MOST)
  return [Inverted(question, tuple(responses)) for question, *responses in ways]


@functools.cache
def _between(template: str, fields: tuple[str, ...]) -> list[str]:
  """The texts before, between and behind the fields of a template."""
  return re.split("|".join(rf"\{{{re.escape(field)}\}}" for field in fields), template)


def _splits(text: str, separators: list[str]) -> Iterator[list[str]]:
  """Every way to split a text at all separators in their order."""
  if not separators:
    yield [text]
    return
  at = text.find(separators[0])
  while at >= 0:
    for rest in _splits(text[at + len(separators[0]) :], separators[1:]):
      yield [text[:at], *rest]
    at = text.find(separators[0], at + 1)


def messages(example: Example, prompt: str) -> list[Message]:
  """One user turn: the example's media in order, then `prompt`."""
  parts = [*map(_part, example.media), _text_part(prompt)]
  return [{"role": "user", "content": parts}]


def mixed_messages(example: Example, template: str) -> list[Message]:
  """One user turn: the template with the texts and media of the example in its fields.

  Args:
    example: a pair with `places`.
    template: a text with MIXED_FIELDS, in this order.
  """
  between = _between(template, MIXED_FIELDS)
  parts, text = [], between[0]
  for mixture, separator in zip(example.pieces, between[1:], strict=True):
    for one in (*mixture, separator):
      if isinstance(one, str):
        text += one
      else:
        parts += [_text_part(text), _part(one)]
        text = ""
  return [
    {"role": "user", "content": [p for p in (*parts, _text_part(text)) if p.get("text") != ""]}
  ]


def _text_part(text: str) -> Message:
  return {"type": "text", "text": text}


def _part(medium: Media) -> Message:
  return {
    "type": medium.kind,
    medium.kind: medium.source,
    **({"fps": medium.fps} if medium.kind == "video" else {}),
    **(medium.settings or {}),
  }
