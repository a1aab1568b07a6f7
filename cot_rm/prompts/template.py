"""Renders an example as one user turn: its media, then the filled prompt text."""

import functools
import pathlib
import re

from cot_rm.schema import BadExample, Example, Message

_TEXTS = pathlib.Path(__file__).parent / "texts"


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
  """Raises BadExample, naming the example, where its candidates are missing or empty.

  Example itself refuses candidates that do not fit the task.
  """
  where = f"example {example.id!r}"
  if example.generation:
    if not example.media:
      kind = example.task.split("_")[0]
      raise BadExample(f"{where}: {example.task} compares two media of kind {kind!r}; got none")
    return
  if not example.responses:
    raise BadExample(f"{where}: {example.task} needs two responses; got none")
  for number, response in enumerate(example.responses, 1):
    if not response.strip():
      raise BadExample(f"{where}: response {number} is empty")


def fields(example: Example) -> dict[str, str]:
  """The example's texts under the names that UnifiedReward's prompts use."""
  if example.generation:
    return {"prompt": example.question}
  return {"Query": example.question, "R1": example.responses[0], "R2": example.responses[1]}


def messages(example: Example, prompt: str) -> list[Message]:
  """One user turn: the example's media in order, then `prompt`."""
  parts: list[Message] = [
    {"type": "image", "image": media.source}
    if media.kind == "image"
    else {"type": "video", "video": media.source, "fps": media.fps}
    for media in example.media
  ]
  return [{"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}]
