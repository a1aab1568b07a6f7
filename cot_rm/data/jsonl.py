"""Examples in JSON Lines files, pictures by path or inside the record.

One record per line; all fields but `id`, `task`, `question` and the media are optional:

    {"id": "a-1", "source": "mine", "task": "image_understanding", "question": "How many?",
     "media": [{"kind": "image", "path": "pictures/1.png"}], "responses": ["two", "three"],
     "gold": 1, "reasoning": "<think>...", "attempts": 1, "extra": {"anything": "else"}}

A picture is {"kind": "image", "path" or "base64": ...}, a video {"kind": "video", "path" or
"frames": ..., "fps": ...}, a frame {"path" or "base64": ...}. Each may be abbreviated to a string:
a path; for pictures and frames also a data URL; for frames also bare base64. "images": [...] is
short for media that are all pictures. Paths are relative to the file.
"""

import base64
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator

from cot_rm import files, media, registry, schema
from cot_rm.data.json_fields import MISSING, Field
from cot_rm.schema import Example, ImageSource, Media

Record = dict[str, object]

_KEYS = (
  "id",
  "source",
  "task",
  "question",
  "media",
  "images",
  "responses",
  "gold",
  "reasoning",
  "attempts",
  "extra",
)


def read(path: str | os.PathLike) -> Iterator[Example]:
  """Yields the examples of a file, without opening pictures; blank lines are skipped.

  Raises FileNotFoundError at the call, and ValueError naming file, line and field at a bad record.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no such JSONL file: {path}")
  return _examples(path)


def write(path: str | os.PathLike, examples: Iterable[Example]) -> int:
  """Writes examples to a file and returns their number; the file appears when it is complete."""
  path = pathlib.Path(path)
  count = 0
  with files.replacing(path) as part, part.open("w", encoding="utf-8") as file:
    for example in examples:
      try:
        line = json.dumps(to_record(example, path.parent), ensure_ascii=False)
      except TypeError as error:
        raise ValueError(f"example {example.id!r}: a field is not JSON: {error}") from error
      file.write(f"{line}\n")
      count += 1
  return count


def to_example(record: object, folder: str | os.PathLike = ".", where: str = "record") -> Example:
  """An Example from one record.

  Args:
    record: the loaded JSON.
    folder: relative paths start here.
    where: begins every error message.

  Raises ValueError naming `where` and the field.
  """
  fields, folder = Field(record, where), pathlib.Path(folder)
  fields.check_keys(_KEYS, hint="put fields of your own under 'extra'")
  task = fields.get("task")
  if task.of_type(str) not in schema.TASKS:
    task.fail(f"unknown task {task.value!r}; {registry.hint(task.value, schema.TASKS)}")
  attempts = fields.get("attempts")
  if (attempts.optional(int) or 0) < 0:
    attempts.fail(f"must be 0 or more, not {attempts.value}")
  generation = task.value.endswith("generation")
  values = dict(
    id=fields.get("id").text(),
    source=fields.get("source").optional(str, ""),
    task=task.value,
    question=fields.get("question").text(),
    media=_media(fields, task.value, folder),
    responses=_responses(fields.get("responses"), generation),
    gold=fields.get("gold").optional(int),
    reasoning=fields.get("reasoning").optional(str),
    attempts=attempts.optional(int),
    extra=fields.get("extra").optional(dict, {}),
  )
  if generation and len(values["media"]) != 2:
    fields.get("media").fail(f"{task.value} compares two media; got {len(values['media'])}")
  try:
    return Example(**values)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


def to_record(example: Example, folder: str | os.PathLike | None = None) -> Record:
  """The record of an Example; fields at their defaults are omitted.

  Paths under `folder` become relative to it, all others absolute. Pictures in memory become
  base64: encoded bytes as they are, PIL images and arrays as PNG.

  Raises ValueError, naming the example, if a picture or video cannot be written.
  """
  name = f"example {example.id!r}"
  values = {
    **{field.name: getattr(example, field.name) for field in dataclasses.fields(example)},
    "media": [_medium_record(medium, folder, name) for medium in example.media],
    "responses": list(example.responses),
    "extra": dict(example.extra),
  }
  return {
    key: value for key, value in values.items() if key == "media" or value not in (None, [], {}, "")
  }


def _examples(path: pathlib.Path) -> Iterator[Example]:
  with path.open("rb") as file:
    for number, line in enumerate(file, 1):
      where = f"{path}, line {number}"
      try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if not text.strip():
          continue
        record = json.loads(text)
      except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8: {error}") from error
      except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
      yield to_example(record, path.parent, where)


def _responses(field: Field, generation: bool) -> tuple[str, ...]:
  if generation:
    return tuple(field.optional(list, []))  # schema.Example refuses any
  responses = field.items() if field.optional(list) else []
  if len(responses) != 2:
    field.fail(f"must be two responses; got {len(responses)}")
  return tuple(response.text() for response in responses)


def _media(fields: Field, task: str, folder: pathlib.Path) -> tuple[Media, ...]:
  found = fields.exactly_one("media", "images")
  kind = "image" if found.path == "images" else task.split("_")[0]
  return tuple(_medium(item, kind, folder) for item in found.items())


def _medium(field: Field, kind: str, folder: pathlib.Path) -> Media:
  """The Media of one entry of "media"; `kind` is its kind if the entry does not give one."""
  field = _expanded(field)
  kind = field.get("kind").optional(str, kind)
  if kind not in schema.KINDS:
    field.get("kind").fail(f"must be 'image' or 'video', not {kind!r}")
  if kind == "image":
    field.check_keys(("kind", "path", "base64"))
    return Media("image", _picture(field, folder))
  field.check_keys(("kind", "path", "frames", "fps"))
  source, fps = field.exactly_one("path", "frames"), _fps(field.get("fps"))
  if source.path.endswith(".path"):
    return Media("video", _path(source, folder), fps)
  frames = source.items()
  if not frames:
    source.fail("must have at least one frame")
  return Media("video", tuple(_frame(frame, folder) for frame in frames), fps)


def _expanded(field: Field) -> Field:
  """The field with an object for its value: a string is short for {"path": string}."""
  if isinstance(field.value, str):
    return dataclasses.replace(field, value={"path": field.value})
  if not isinstance(field.value, dict):
    field.fail(f"must be an object or a string, not {field.kind}")
  return field


def _fps(field: Field) -> float | None:
  value = None if field.value is MISSING else field.value
  if value is not None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
      field.fail(f"must be a number above 0, not {value!r}")
  return value


def _frame(field: Field, folder: pathlib.Path) -> ImageSource:
  if isinstance(field.value, str) and not os.path.exists(folder / field.value):
    picture = media.picture_of_base64(field.value)
    if picture is not None:
      return picture
  field = _expanded(field)
  field.check_keys(("path", "base64"))
  return _picture(field, folder)


def _picture(field: Field, folder: pathlib.Path) -> ImageSource:
  """The source of a picture: a path, a data URL unchanged, or the bytes decoded from base64."""
  source = field.exactly_one("path", "base64")
  text, url = source.text(), str(source.value).startswith("data:")
  if source.path.endswith(".base64"):
    decode = media.decode_data_url if url else media.decode_base64
    return decode(text, name=source.place)
  if url:
    media.decode_data_url(text, name=source.place)  # checked here, where the line is known
    return text
  return _path(source, folder)


def _path(field: Field, folder: pathlib.Path) -> str:
  path = field.text()
  if path.startswith(("http://", "https://")):
    field.fail(f"media are read from disk; download {path} first")
  if not os.path.exists(folder / path):
    field.fail(f"no such file: {str(folder / path)[:200]}")
  return str(folder / path)


def _medium_record(medium: Media, folder: str | os.PathLike | None, name: str) -> Record:
  fps = {} if medium.fps is None else {"fps": medium.fps}
  if medium.kind == "image":
    return {"kind": "image", **_picture_record(medium.source, folder, name)}
  if media.is_path(medium.source):
    return {"kind": "video", "path": _written_path(medium.source, folder, name), **fps}
  frames = media.frame_sources(medium.source, name=name)
  return {
    "kind": "video",
    "frames": [_picture_record(frame, folder, name) for frame in frames],
    **fps,
  }


def _picture_record(
  source: ImageSource, folder: str | os.PathLike | None, name: str
) -> dict[str, str]:
  if media.is_path(source):
    return {"path": _written_path(source, folder, name)}
  return {"base64": base64.b64encode(media.encoded_picture(source, name=name)).decode()}


def _written_path(source: str | os.PathLike, folder: str | os.PathLike | None, name: str) -> str:
  path = os.path.abspath(media.local_path(source, name=name))
  base = os.path.abspath(folder) if folder is not None else None
  inside = base and os.path.commonpath([path, base]) == base
  return os.path.relpath(path, base) if inside else path
