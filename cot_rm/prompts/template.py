"""The way in: an example becomes one user turn, its media first, then the filled text."""

import functools
import pathlib
import re

from cot_rm import schema

_TEXTS = pathlib.Path(__file__).parent / "texts"


@functools.cache
def text(name):
  """A prompt text, byte for byte; see texts/README.md for where each comes from."""
  return (_TEXTS / f"{name}.txt").read_bytes().decode()


def fill(template, values):
  """Puts values["field"] where `template` says {field}.

  One pass over the template: braces in a value, and braces that are no field, stay as they are.
  """
  places = "|".join(re.escape(field) for field in values)
  return re.sub(rf"\{{({places})\}}", lambda match: values[match[1]], template)


def check(example):
  """Raises ValueError, naming the example, where it cannot be put to a judge."""
  where = f"example {example.id!r}"
  if example.task not in schema.TASKS:
    raise ValueError(f"{where}: unknown task {example.task!r}; known: {', '.join(schema.TASKS)}")
  if example.generation:
    kind = example.task.split("_")[0]
    if [media.kind for media in example.media] != [kind, kind]:
      found = ", ".join(media.kind for media in example.media) or "none"
      raise ValueError(f"{where}: {example.task} compares two media of kind {kind!r}; got {found}")
    if example.responses:
      raise ValueError(
        f"{where}: {example.task} compares its media and takes no responses; "
        f"got {len(example.responses)}"
      )
    return
  if len(example.responses) != 2:
    raise ValueError(f"{where}: {example.task} needs two responses; got {len(example.responses)}")
  for number, response in enumerate(example.responses, 1):
    if not response.strip():
      raise ValueError(f"{where}: response {number} is empty")


def fields(example):
  """The example's texts under the names that UnifiedReward's prompts use."""
  if example.generation:
    return {"prompt": example.question}
  return {"Query": example.question, "R1": example.responses[0], "R2": example.responses[1]}


def messages(example, prompt):
  """One user turn: the example's media in order, then `prompt`."""
  parts = [
    {"type": "image", "image": media.source}
    if media.kind == "image"
    else {"type": "video", "video": media.source, "fps": media.fps}
    for media in example.media
  ]
  return [{"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}]
