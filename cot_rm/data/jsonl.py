"""Examples in JSON Lines files, pictures by path or inside the record.

One record per line; all fields but `id`, `task`, `question` and the media are optional:

    {"id": "a-1", "source": "mine", "task": "image_understanding", "question": "How many?",
     "media": [{"kind": "image", "path": "pictures/1.png"}], "responses": ["two", "three"],
     "gold": 1, "reasoning": "<think>...", "attempts": 1, "extra": {"anything": "else"}}

A picture is {"kind": "image", "path" or "url" or "base64": ...}, a video {"kind": "video", "path"
or "url" or "frames": ..., "fps": ...}, a frame {"path" or "url" or "base64": ...}. Each may be
abbreviated to a string: a path, a URL (file, data, http) or base64. Pictures and videos may have
the settings of schema.MEDIA_SETTINGS ("max_pixels", "nframes", ...). Hugging Face's {"bytes": null,
"path": ...} and OpenAI's {"type": "image_url", "image_url": {"url": ...}} are read too. "images":
[...] is short for media that are all pictures. A question or response that mixes texts and media is
a list of strings, which are texts, and of objects, which are media; the record then has no "media":

    {"id": "e-1", "task": "image_generation", "gold": 2,
     "question": [{"kind": "image", "path": "cat.png"}, "Make the cat black."],
     "responses": [[{"kind": "image", "path": "a.png"}], [{"kind": "image", "path": "b.png"}]]}

Paths are relative to the file. Files must exist;
whether URLs on the network are fetched is decided when they are opened, see media.Options.
"""

import base64
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator

from cot_rm import files, media, registry, schema
from cot_rm.data.json_fields import MISSING, Field
from cot_rm.schema import BadRecord, Example, ImageSource, Media

Record = dict[str, object]

MOST_ATTEMPTS = 2**31 - 1
MOST_FPS = 1e6
_PICTURE_KEYS = ("path", "base64", "url", "image", "image_url", "bytes")
_VIDEO_KEYS = ("path", "base64", "url", "video", "video_url", "frames")
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

  Raises FileNotFoundError at the call, and BadRecord naming file, line and field at a bad record.
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
        raise BadRecord(f"example {example.id!r}: a field is not JSON: {error}") from error
      file.write(f"{line}\n")
      count += 1
  return count


def to_example(record: object, folder: str | os.PathLike = ".", where: str = "record") -> Example:
  """An Example from one record.

  Args:
    record: the loaded JSON.
    folder: relative paths start here.
    where: begins every error message.

  Raises BadRecord, or BadMedia for damaged base64, naming `where` and the field.
  """
  fields, folder = Field(record, where), pathlib.Path(folder)
  fields.check_keys(_KEYS, hint="put fields of your own under 'extra'")
  task = fields.get("task")
  if task.of_type(str) not in schema.TASKS:
    task.fail(f"unknown task {task.value!r}; {registry.hint(task.value, schema.TASKS)}")
  attempts = fields.get("attempts")
  if not 0 <= (attempts.optional(int) or 0) <= MOST_ATTEMPTS:
    attempts.fail(f"must be 0 or more, not {str(attempts.value)[:20]}")
  values = dict(
    _compared(fields, task, folder),
    id=fields.get("id").text(),
    source=fields.get("source").optional(str, ""),
    task=task.value,
    gold=fields.get("gold").optional(int),
    reasoning=fields.get("reasoning").optional(str),
    attempts=attempts.optional(int),
    extra=fields.get("extra").optional(dict, {}),
  )
  try:
    return Example(**values)
  except ValueError as error:
    raise BadRecord(f"{where}: {error}") from error


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
  del values["places"]
  if example.places:
    question, *responses = [
      [one if isinstance(one, str) else _medium_record(one, folder, name) for one in mixture]
      for mixture in example.pieces
    ]
    del values["media"]
    values |= {"question": question, "responses": responses}
  return {
    key: value for key, value in values.items() if key == "media" or value not in (None, [], {}, "")
  }


def _examples(path: pathlib.Path) -> Iterator[Example]:
  with path.open("rb") as file:
    for number, line in enumerate(file, 1):
      where = f"{path}, line {number}"
      if (record := parse(line, where, first=number == 1)) is not MISSING:
        yield to_example(record, path.parent, where)


def parse(line: bytes, where: str, *, first: bool = False) -> object:
  """The value of a line of a JSON Lines file; MISSING for a blank line.

  Args:
    line: its bytes.
    where: begins every error message.
    first: whether it is the first line, which may begin with a byte order mark.

  Raises BadRecord if it is not JSON in UTF-8.
  """
  try:
    text = line.decode("utf-8-sig" if first else "utf-8")
    return json.loads(text) if text.strip() else MISSING
  except UnicodeDecodeError as error:
    utf_16 = "UTF-16 must be converted; " if line[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    raise BadRecord(f"{where}: not UTF-8: {utf_16}{error}") from error
  except json.JSONDecodeError as error:
    raise BadRecord(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
  except (ValueError, RecursionError) as error:  # thousands of digits, thousands of brackets
    raise BadRecord(f"{where}: not JSON that can be read: {error}") from error


def _compared(fields: Field, task: Field, folder: pathlib.Path) -> dict[str, object]:
  """The fields of an Example that say what is compared."""
  question, responses = fields.get("question"), fields.get("responses")
  given = [question.value, *(responses.value if isinstance(responses.value, list) else ())]
  first = any(fields.get(name).value not in (MISSING, None) for name in ("media", "images"))
  if first or not any(isinstance(one, list | dict) for one in given):
    generation = task.value.endswith("generation")
    values = {
      "question": question.text(),
      "media": _media(fields, task.value, folder),
      "responses": _responses(responses, generation),
    }
    if generation and len(values["media"]) != 2:
      fields.get("media").fail(f"{task.value} compares two media; got {len(values['media'])}")
    return values
  if len(responses.items()) != 2:
    responses.fail(f"must be two responses; got {len(responses.items())}")
  kind = task.value.split("_")[0]
  mixtures = [_mixture(one, kind, folder) for one in (question, *responses.items())]
  try:
    pair = Example.mixed(*mixtures, id=fields.get("id").text())
  except ValueError as error:
    raise BadRecord(f"{fields.where}: {error}") from error
  if pair.task != task.value:
    task.fail(f"is {task.value!r}, and the question and responses make a pair of {pair.task!r}")
  return {name: getattr(pair, name) for name in ("question", "media", "responses", "places")}


def _mixture(field: Field, kind: str, folder: pathlib.Path) -> list[str | Media]:
  """The texts and media of a question or response; `kind` as of `_medium`."""
  pieces = field.items() if isinstance(field.value, list) else [field]
  out: list[str | Media] = []
  for piece in pieces:
    text = isinstance(piece.value, str)
    out.append(piece.value if text else _medium(piece, kind, folder))
  if not any(isinstance(one, Media) or one.strip() for one in out):
    field.fail("is empty")
  return out


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
  kind = _kind(field, kind)
  settings = _settings(field, kind)
  if kind == "image":
    field.check_keys(("kind", "type", *_PICTURE_KEYS, *schema.MEDIA_SETTINGS[kind]))
    return Media("image", _picture(field, folder), settings=settings)
  field.check_keys(("kind", "type", *_VIDEO_KEYS, "fps", *schema.MEDIA_SETTINGS[kind]))
  return Media("video", _video(field, folder), _fps(field.get("fps")), settings)


def _settings(field: Field, kind: schema.Kind) -> dict[str, float] | None:
  """The settings of a medium; None: it has none."""
  found = {name: field.get(name) for name in schema.MEDIA_SETTINGS[kind]}
  out = {name: item.value for name, item in found.items() if item.value not in (MISSING, None)}
  for name, value in out.items():
    if fault := schema.media_setting_fault(kind, name, value):
      found[name].fail(fault)
  return out or None


def _video(field: Field, folder: pathlib.Path) -> schema.VideoSource:
  """The source of a video: a path, a URL, its bytes decoded from base64, or its frames."""
  source = field.exactly_one(*_VIDEO_KEYS)
  if isinstance(source.value, dict) and source.path.endswith("video_url"):
    source = source.get("url")
  if source.path.endswith(".base64"):
    return media.decode_base64(source.text(), name=source.place)
  if not source.path.endswith(".frames"):
    return _encoded(source, folder) or _path(source, folder)
  frames = source.items()
  if not frames:
    source.fail("must have at least one frame")
  return tuple(_frame(frame, folder) for frame in frames)


def _kind(field: Field, kind: str) -> str:
  """The kind of a medium: as its "kind" says, or the "type" of a part of a chat."""
  given = field.get("kind")
  if given.optional(str) is None:
    given = field.get("type")
  found = given.optional(str, kind)
  for known in schema.KINDS:
    if found in (known, f"{known}_url", f"input_{known}"):
      return known
  given.fail(f"must be 'image' or 'video', not {found!r}")


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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= MOST_FPS:
      field.fail(f"must be a number above 0, not {str(value)[:20]}")
  return value


def _frame(field: Field, folder: pathlib.Path) -> ImageSource:
  field = _expanded(field)
  field.check_keys(("type", *_PICTURE_KEYS))
  return _picture(field, folder)


def _picture(field: Field, folder: pathlib.Path) -> ImageSource:
  """The source of a picture: a path, a URL, or the bytes decoded from base64 or a data URL."""
  bytes_ = field.get("bytes")  # Hugging Face's records have bytes, and often also their first path
  source = bytes_ if isinstance(bytes_.value, str) else field.exactly_one(*_PICTURE_KEYS)
  if isinstance(source.value, dict):
    return _picture(source, folder)
  text = source.text()
  if source.path.endswith((".base64", ".bytes")):
    decode = media.decode_data_url if text[:5].lower() == "data:" else media.decode_base64
    return decode(text, name=source.place)
  return _encoded(source, folder) or _path(source, folder)


def _encoded(field: Field, folder: pathlib.Path) -> bytes | None:
  """The picture or video of a text in base64; None: the text is none."""
  text = field.text()
  return None if media.exists(folder / text) else media.picture_of_base64(text)


def _path(field: Field, folder: pathlib.Path) -> str:
  """A path, from `folder`, to a file that exists; a URL on the network unchanged."""
  text = field.text()
  if media.is_url(text):
    return text
  if text[:5].lower() == "data:":
    media.decode_data_url(text, name=field.place)  # checked here, where the line is known
    return text
  path = str(folder / media.local_path(text, name=field.place))
  if not media.exists(path):
    field.fail(f"no such file: {path[:200]!r}")
  return path


def _medium_record(medium: Media, folder: str | os.PathLike | None, name: str) -> Record:
  further = {} if medium.fps is None else {"fps": medium.fps}
  further |= medium.settings or {}
  if medium.kind == "image":
    return {"kind": "image", **_picture_record(medium.source, folder, name), **further}
  if media.is_url(medium.source):
    return {"kind": "video", "path": medium.source, **further}
  if media.is_path(medium.source):
    return {"kind": "video", "path": _written_path(medium.source, folder, name), **further}
  if (file := media.video_bytes(medium.source, name=name)) is not None:
    return {"kind": "video", "base64": base64.b64encode(file).decode(), **further}
  frames = media.frame_sources(medium.source, name=name)
  return {
    "kind": "video",
    "frames": [_picture_record(frame, folder, name) for frame in frames],
    **further,
  }


def _picture_record(
  source: ImageSource, folder: str | os.PathLike | None, name: str
) -> dict[str, str]:
  if media.is_url(source):
    return {"path": source}
  if media.is_path(source):
    return {"path": _written_path(source, folder, name)}
  return {"base64": base64.b64encode(media.encoded_picture(source, name=name)).decode()}


def _written_path(source: str | os.PathLike, folder: str | os.PathLike | None, name: str) -> str:
  path = os.path.abspath(media.local_path(source, name=name))
  base = os.path.abspath(folder) if folder is not None else None
  inside = base and os.path.commonpath([path, base]) == base
  return os.path.relpath(path, base) if inside else path
