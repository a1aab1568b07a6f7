"""Identity by content: hashes of what an example asks, of an example, and of a data set.

A name says nothing about what is under it: files are replaced, records edited. The bytes of a
picture or video have the same hash wherever they are: at a path, in a data URL, in memory, or in a
data set; a folder of frames has that of the list of its frames. A hash never fails because media
are missing or damaged: reading the example does.
"""

import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from cot_rm import files, media
from cot_rm.schema import BadExample, BadMedia, Example, Media

# Fields of an Example that a judge does not see: its name, and what is known about its answer.
NOT_ASKED = ("id", "source", "gold", "reasoning", "attempts", "extra")
SPREAD = 256  # examples of a data set that a description has, evenly spread


@runtime_checkable
class Identified(Protocol):
  """A source that knows its identity without reading its examples one by one."""

  def identity(self) -> str:
    """A hash of all examples and their order."""


def question_hash(example: Example, rule: files.BlockRule = files.FULL) -> str:
  """Hash of what a judge is asked: the task, all texts, and the content of all media.

  An answer depends on these alone. The gold answer decides what an answer is worth: figures are
  computed anew from kept answers with the gold answers of today.
  """
  asked = _given(example, (*NOT_ASKED, "media"))
  return _digest([asked, [_medium(medium, rule) for medium in example.media]])


def example_hash(example: Example, rule: files.BlockRule = files.FULL) -> str:
  """Hash of all that a stage may depend on: the question, gold, reasoning and attempts."""
  return _digest([question_hash(example, rule), example.gold, example.reasoning, example.attempts])


def source_hash(source: Sequence[Example]) -> str:
  """Hash of the examples of a data set, with their ids, in their order.

  A source that is `Identified` is asked. Of others every example is read; of large files only the
  ends are (files.QUICK).
  """
  if isinstance(source, Identified):
    return source.identity()
  return _digest([mark(source, index) for index in range(len(source))])


def mark(source: Sequence[Example], index: int) -> tuple[str, str]:
  """(id, hash) of an example of a data set, cheap enough for all examples of it."""
  try:
    example = source[index]
    return example.id, example_hash(example, files.QUICK)
  except BadExample as error:  # whoever uses it says so, or leaves it out
    return f"row {index + 1}", _digest(str(error))


def describe(source: Sequence[Example]) -> dict[str, Any]:
  """What a checkpoint remembers of its data set, for JSON: see `difference`."""
  count = len(source)
  step = max(count / SPREAD, 1)
  indices = sorted({int(number * step) for number in range(min(count, SPREAD))})
  if isinstance(source, Identified):
    marks = {index: mark(source, index) for index in indices}
    return _description(source.identity(), count, marks)
  every = [mark(source, index) for index in range(count)]
  return _description(_digest(every), count, {index: every[index] for index in indices})


def difference(
  known: Mapping[str, Any], found: Mapping[str, Any], source: Sequence[Example]
) -> str | None:
  """In what a data set differs from another that was described, in words; None: it is the same.

  Of large data sets only some examples are remembered: the first that differs among these is named.

  Args:
    known: `describe` of the other.
    found: `describe` of `source`.
    source: the data set.
  """
  if found["hash"] == known["hash"]:
    return None
  words = []
  if found["count"] != known["count"]:
    words.append(f"{known['count']:,} examples before, {found['count']:,} now")
  for index, (id, hash_of) in sorted((int(i), entry) for i, entry in known["examples"].items()):
    if index >= found["count"]:
      break
    now = mark(source, index)
    if now != (id, hash_of):
      what = "has another content" if now[0] == id else f"is now {now[0]!r}"
      exact = "the first" if len(known["examples"]) == known["count"] else "a"
      words.append(f"{exact} difference: example {id!r} (number {index:,}) {what}")
      break
  return "; ".join(words) or "the same number of examples, with other content"


def content_hash(source: object, rule: files.BlockRule = files.FULL) -> str:
  """Hash of the content of a picture or video in any form; see schema.ImageSource, VideoSource."""
  if isinstance(source, (bytes, bytearray, memoryview)):
    return files.bytes_hash(source, rule)
  if isinstance(source, str) and (data := _data(source)) is not None:
    return files.bytes_hash(data, rule)
  if isinstance(source, (str, os.PathLike)):
    return _path(source, rule)
  if isinstance(source, Image.Image):
    return _image(source)
  if isinstance(source, media.Blank):
    return _digest(["blank", content_hash(source.source, rule)])
  if isinstance(source, Mapping):
    return _digest([[str(key), content_hash(source[key], rule)] for key in sorted(source)])
  if isinstance(source, (list, tuple)):
    return _digest([content_hash(item, rule) for item in source])
  if isinstance(source, io.IOBase):
    return _stream(source, rule)
  if hasattr(source, "__array__"):
    return _array(np.asarray(source))
  return _digest(repr(source))


def _description(hash_of: str, count: int, marks: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
  examples = {str(index): [*entry] for index, entry in marks.items()}
  return {"hash": hash_of, "count": count, "examples": examples}


def _medium(medium: Media, rule: files.BlockRule) -> dict[str, object]:
  return {**_given(medium, ("source",)), "content": content_hash(medium.source, rule)}


def _given(instance: Example | Media, without: Sequence[str]) -> dict[str, object]:
  """The fields of a dataclass that are not at their defaults, so that a hash outlives new fields.

  Args:
    instance: an instance of the dataclass.
    without: names of fields that are left out.
  """
  return {
    field.name: _plain(getattr(instance, field.name))
    for field in dataclasses.fields(instance)
    if field.name not in without and getattr(instance, field.name) != field.default
  }


def _plain(value: object) -> object:
  """A value in which equal numbers and equal mappings are written alike."""
  if isinstance(value, Mapping):
    return {str(key): _plain(item) for key, item in value.items() if item is not None}
  return float(value) if isinstance(value, int) else value


def _data(source: str) -> bytes | None:
  """The bytes of a data URL or of base64; None for a path, and where they are damaged."""
  if not source[:5].lower() == "data:":
    return media.picture_of_base64(source)
  try:
    return media.decode_data_url(source, name="")
  except BadMedia:
    return None


def _path(source: str | os.PathLike[str], rule: files.BlockRule) -> str:
  try:
    path = media.local_path(source, name="")
    if path.is_dir():
      frames = media.frame_sources(path, name="")
      return _digest([content_hash(frame, rule) for frame in frames or ()])
    return files.content_hash(path, rule)
  except (OSError, ValueError):  # an address, or a file that is missing or cannot be read
    return _digest(["path", os.fspath(source)])


def _image(image: Image.Image) -> str:
  turned, clear = image.getexif().get(media.ORIENTATION), image.info.get("transparency")
  seen = [image.mode, image.size, turned, clear]
  try:
    palette = image.palette.tobytes() if image.palette else b""
    return files.digest(repr(seen).encode(), palette, image.tobytes())
  except (OSError, ValueError, SyntaxError):  # damaged: it was opened, but cannot be decoded
    return _digest(["image", repr(seen)])


def _array(array: np.ndarray) -> str:
  shape = f"{array.dtype.str} {array.shape}".encode()
  return files.digest(shape, array.tobytes())


def _stream(stream: io.IOBase, rule: files.BlockRule) -> str:
  start = stream.tell()
  content = stream.read()
  stream.seek(start)
  return files.bytes_hash(content, rule)


def _digest(value: object) -> str:
  return files.digest(json.dumps(value, sort_keys=True, default=str).encode())
