"""Examples in JSON Lines files, pictures by path or inside the record.

One record per line; every field but `id`, `task`, `question` and the media may be left out:

    {"id": "a-1", "source": "mine", "task": "image_understanding", "question": "How many?",
     "media": [{"kind": "image", "path": "pictures/1.png"}], "responses": ["two", "three"],
     "gold": 1, "reasoning": "<think>...", "attempts": 1, "extra": {"anything": "else"}}

A picture is {"kind": "image", "path" or "base64": ...}, a video {"kind": "video", "path" or
"frames": ..., "fps": ...}, a frame {"path" or "base64": ...}. A string will do for each of them: a
path, for pictures and frames also a data URL, for frames also bare base64. "images": [...] stands
for media that are all pictures. Paths are relative to the file.
"""

import base64
import binascii
import io
import json
import os
import pathlib

import numpy as np
from PIL import Image

from cot_rm import files, registry, schema

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
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")  # png jpeg gif webp bmp


def read(path):
  """Yields the examples of a file; blank lines are skipped, pictures are not opened.

  Raises FileNotFoundError at once, and ValueError naming file, line and field at a bad record.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no such JSONL file: {path}")
  return _examples(path)


def example(record, folder=".", where="record"):
  """An Example from one record; relative paths start from `folder`.

  Raises ValueError that begins with `where` and names the field.
  """
  if not isinstance(record, dict):
    raise ValueError(f"{where}: an object is due, not {_kind(record)}")
  _known(record, _KEYS, where, hint="put what is your own under 'extra'")
  task = _field(record, "task", str, where)
  if task not in schema.TASKS:
    _fail(
      where,
      "task",
      f"unknown task {task!r}; {registry.hint(task, schema.TASKS)}",
    )
  gold = _field(record, "gold", int, where, None)
  if gold not in (None, 1, 2):
    _fail(where, "gold", f"1 or 2 is due, not {gold}")
  responses = tuple(_field(record, "responses", list, where, []))
  media = _media(record, task, pathlib.Path(folder), where)
  if task.endswith("generation") and len(media) != 2:
    _fail(where, "media", f"{task} compares two media; got {len(media)}")
  _check_responses(task, responses, where)
  out = schema.Example(
    id=_text(record, "id", where),
    source=_field(record, "source", str, where, ""),
    task=task,
    question=_text(record, "question", where),
    media=media,
    responses=responses,
    gold=gold,
    reasoning=_field(record, "reasoning", str, where, None),
    attempts=_field(record, "attempts", int, where, None),
    extra=_field(record, "extra", dict, where, {}),
  )
  if out.attempts is not None and out.attempts < 0:
    _fail(where, "attempts", f"a count is due, not {out.attempts}")
  return out


def record(example, folder=None):
  """The record of an Example; fields at their defaults are left out.

  A path under `folder` becomes relative to it, any other path absolute. Pictures in memory become
  base64: bytes as they are, PIL images and arrays (u8[height, width, 3]; videos with frames before)
  as PNG. Raises ValueError, naming the example, on what cannot be written.
  """
  out = {
    "id": example.id,
    "source": example.source,
    "task": example.task,
    "question": example.question,
    "media": [_written(media, folder, f"example {example.id!r}") for media in example.media],
    "responses": list(example.responses),
    "gold": example.gold,
    "reasoning": example.reasoning,
    "attempts": example.attempts,
    "extra": dict(example.extra),
  }
  return {
    key: value for key, value in out.items() if key == "media" or value not in (None, [], {}, "")
  }


def write(path, examples):
  """Writes examples to a file and returns how many. The file appears when it is whole."""
  path = pathlib.Path(path)
  count = 0
  with files.replacing(path) as part, part.open("w", encoding="utf-8") as file:
    for one in examples:
      try:
        line = json.dumps(record(one, path.parent), ensure_ascii=False)
      except TypeError as error:
        raise ValueError(f"example {one.id!r}: a field is not JSON: {error}") from error
      file.write(f"{line}\n")
      count += 1
  return count


def _examples(path):
  with path.open("rb") as file:
    for number, line in enumerate(file, 1):
      where = f"{path}, line {number}"
      try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if not text.strip():
          continue
        loaded = json.loads(text)
      except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8: {error}") from error
      except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
      yield example(loaded, path.parent, where)


def _media(record, task, folder, where):
  """The media of a record, from whichever of its two fields has them."""
  if ("media" in record) == ("images" in record):
    raise ValueError(f"{where}: one of the fields 'media' and 'images' is due")
  if "images" in record:
    items = _field(record, "images", list, where)
    return tuple(
      _medium(item, "image", folder, where, f"images[{i}]") for i, item in enumerate(items)
    )
  items = _field(record, "media", list, where)
  return tuple(
    _medium(item, task.split("_")[0], folder, where, f"media[{i}]") for i, item in enumerate(items)
  )


def _medium(item, kind, folder, where, field):
  """One Media; `kind` is what a bare string stands for."""
  if isinstance(item, str):
    item = {"path": item}
  if not isinstance(item, dict):
    _fail(where, field, f"an object or a string is due, not {_kind(item)}")
  item = {"kind": kind, **item}
  if item["kind"] not in ("image", "video"):
    _fail(where, f"{field}.kind", f"'image' or 'video' is due, not {item['kind']!r}")
  if item["kind"] == "image":
    _known(item, ("kind", "path", "base64"), where, field)
    return schema.Media("image", _picture(item, folder, where, field))
  _known(item, ("kind", "path", "frames", "fps"), where, field)
  fps = item.get("fps")
  if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float) or fps <= 0):
    _fail(where, f"{field}.fps", f"a number above 0 is due, not {fps!r}")
  if ("path" in item) == ("frames" in item):
    _fail(where, field, "one of 'path' and 'frames' is due")
  if "path" in item:
    return schema.Media("video", _path(item["path"], folder, where, f"{field}.path"), fps)
  if not isinstance(item["frames"], list) or not item["frames"]:
    _fail(where, f"{field}.frames", "a list of at least one frame is due")
  return schema.Media(
    "video",
    tuple(
      _frame(frame, folder, where, f"{field}.frames[{i}]") for i, frame in enumerate(item["frames"])
    ),
    fps,
  )


def _frame(frame, folder, where, field):
  if isinstance(frame, str):
    if not frame.startswith("data:") and not os.path.exists(folder / frame):
      try:
        decoded = base64.b64decode(frame, validate=True)
      except (binascii.Error, ValueError):
        decoded = b""
      if decoded.startswith(_SIGNATURES):
        return decoded
    frame = {"path": frame}
  if not isinstance(frame, dict):
    _fail(where, field, f"an object or a string is due, not {_kind(frame)}")
  _known(frame, ("path", "base64"), where, field)
  return _picture(frame, folder, where, field)


def _picture(item, folder, where, field):
  """A path, a data URL as it stands, or the bytes behind base64."""
  if ("path" in item) == ("base64" in item):
    _fail(where, field, "one of 'path' and 'base64' is due")
  if "path" in item:
    if isinstance(item["path"], str) and item["path"].startswith("data:"):
      _decoded(item["path"], where, field)
      return item["path"]
    return _path(item["path"], folder, where, f"{field}.path")
  return _decoded(item["base64"], where, f"{field}.base64")


def _path(value, folder, where, field):
  if not isinstance(value, str) or not value:
    _fail(where, field, f"a path is due, not {_kind(value)}")
  if value.startswith(("http://", "https://")):
    _fail(where, field, f"media are read from disk; download {value} first")
  if not os.path.exists(folder / value):
    _fail(where, field, f"no such file: {str(folder / value)[:200]}")
  return str(folder / value)


def _decoded(value, where, field):
  """The bytes of base64, bare or in a data URL."""
  if not isinstance(value, str) or not value:
    _fail(where, field, f"base64 is due, not {_kind(value)}")
  head, _, body = value.partition(",") if value.startswith("data:") else (";base64", "", value)
  try:
    decoded = base64.b64decode(body, validate=True)
  except (binascii.Error, ValueError) as error:
    raise ValueError(f"{where}, field {field!r}: not base64: {error}") from error
  if not head.endswith(";base64") or not decoded:
    _fail(where, field, "a data URL with base64 of a picture is due")
  return decoded


def _check_responses(task, responses, where):
  if task.endswith("generation"):
    if responses:
      _fail(
        where,
        "responses",
        f"{task} compares its media and takes no responses; got {len(responses)}",
      )
    return
  if len(responses) != 2:
    _fail(where, "responses", f"two responses are due; got {len(responses)}")
  for i, response in enumerate(responses):
    if not isinstance(response, str):
      _fail(where, f"responses[{i}]", f"a string is due, not {_kind(response)}")
    if not response.strip():
      _fail(where, f"responses[{i}]", "the response is empty")


def _text(record, key, where):
  value = _field(record, key, str, where)
  if not value.strip():
    _fail(where, key, "the text is empty")
  return value


def _field(record, key, kind, where, *default):
  """record[key], of type `kind`; where it is missing or null the default, if there is one."""
  if record.get(key) is None and default:
    return default[0]
  if key not in record:
    raise ValueError(f"{where}: field {key!r} is missing")
  value = record[key]
  if not isinstance(value, kind) or isinstance(value, bool):
    _fail(where, key, f"{_NAMES[kind]} is due, not {_kind(value)}")
  return value


def _known(item, keys, where, field="", hint=""):
  for key in item:
    if key not in keys:
      inside = f", field {field!r}" if field else ""
      raise ValueError(
        f"{where}{inside}: unknown key {key!r}; {registry.hint(key, keys)}"
        f"{f'; {hint}' if hint else ''}"
      )


def _written(media, folder, where):
  """The record of one Media."""
  if media.kind == "image":
    return {"kind": "image", **_stored(media.source, folder, where)}
  fps = {} if media.fps is None else {"fps": media.fps}
  if isinstance(media.source, str | os.PathLike):
    return {"kind": "video", **_stored(media.source, folder, where), **fps}
  if not isinstance(media.source, tuple | list | np.ndarray):
    raise ValueError(f"{where}: a video cannot be written from {_kind(media.source)}")
  return {
    "kind": "video",
    "frames": [_stored(frame, folder, where) for frame in media.source],
    **fps,
  }


def _stored(source, folder, where):
  if isinstance(source, str) and source.startswith("data:"):
    return {"base64": source.partition(",")[2]}
  if isinstance(source, str | os.PathLike):
    path = os.path.abspath(source)
    base = os.path.abspath(folder) if folder is not None else None
    if base and os.path.commonpath([path, base]) == base:
      path = os.path.relpath(path, base)
    return {"path": path}
  if isinstance(source, np.ndarray):
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[-1] != 3:
      raise ValueError(
        f"{where}: a picture is u8[height, width, 3], not {source.dtype}{list(source.shape)}"
      )
    source = Image.fromarray(source)
  if isinstance(source, Image.Image):
    buffer = io.BytesIO()
    # PNG has no CMYK, YCbCr or the like.
    keep = source.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    (source if keep else source.convert("RGB")).save(buffer, format="PNG")
    source = buffer.getvalue()
  if not isinstance(source, bytes):
    raise ValueError(f"{where}: a picture cannot be written from {_kind(source)}")
  return {"base64": base64.b64encode(source).decode()}


_NAMES = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


def _kind(value):
  return "null" if value is None else type(value).__name__


def _fail(where, field, text):
  raise ValueError(f"{where}, field {field!r}: {text}")
