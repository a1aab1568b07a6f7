"""A record of a data set, with checked access to its fields and its media."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from cot_rm.data.datasets import media_files
from cot_rm.records import Record
from cot_rm.schema import BadRecord, Media

Ties = Literal["drop", "keep"]
Ranked = Literal["all", "best_worst"]


@dataclasses.dataclass(frozen=True)
class Options:
  """How comparisons are made from labels."""

  ties: Ties = "drop"  # pairs without a preferred candidate are left out, or kept without gold
  pairs: Ranked = "all"  # of a ranked list: all pairs of unequal rank, or the best and the worst


@dataclasses.dataclass(frozen=True)
class Row:
  """One record; for layouts that compare records, the first of a group of them."""

  record: Record
  where: str  # names the record in errors
  name: str  # of the record, where it has no id
  path: pathlib.Path  # of the data file
  files: media_files.MediaFiles | None = None  # None: media are not looked for
  options: Options = Options()
  group: Sequence[Row] = ()  # all records of the group in order, each with its own place

  def fail(self, message: str) -> NoReturn:
    """Raises BadRecord with the place of the record."""
    raise BadRecord(f"{self.where}: {message}")

  def get(self, *names: str) -> Any:
    """The value of the first of these fields that is there and not null; None if none is."""
    return next((self.record[n] for n in names if self.record.get(n) is not None), None)

  def text(self, *names: str) -> str:
    """The text of the first of these fields that has one; raises BadRecord if none has."""
    for name in names:
      value = self.record.get(name)
      if isinstance(value, str) and value.strip():
        return value
    value = self.get(*names)
    if value is None:
      self.fail(f"field {names[0]!r} is missing")
    self.fail(f"field {names[0]!r} must be text that is not blank, not {value!r:.80}")

  def label(self, name: str) -> str:
    """The text of a field in small letters, without white space around it; "" if it is missing."""
    value = self.get(name)
    return "" if value is None else str(value).strip().lower()

  def number(self, *names: str) -> float | None:
    """The number of the first of these fields that is there, None if none is; text is converted."""
    return self.as_number(self.get(*names), names[0])

  def as_number(self, value: object, name: str) -> float | None:
    """A value of field `name` as a number: text is converted; None if it is null, empty or NaN."""
    if value is None or value == "":
      return None
    try:
      number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
      number = None
    if number is None or isinstance(value, bool):
      self.fail(f"field {name!r} must be a number, not {value!r:.80}")
    return None if math.isnan(number) else number

  def items(self, name: str) -> list[Any]:
    """The elements of a list, or of one that is written as text (in a CSV file).

    An object of lists is turned into a list of objects.
    """
    value = listed(structured(self.get(name)))
    if not isinstance(value, list):
      self.fail(f"field {name!r} must be a list, not {type(value).__name__}")
    return value

  def extra(self, *names: str) -> dict[str, object]:
    """Those of these fields that are plain values."""
    plain = (str, int, float, bool)
    return {name: self.record[name] for name in names if isinstance(self.record.get(name), plain)}

  def id(self, *names: str) -> str:
    """The text or whole number of the first of these fields that is there; "" if none is."""
    value = self.get(*(names or ("id", "idx", "uid", "question_id", "sample_id", "hash")))
    if isinstance(value, float) and value.is_integer():  # a column with gaps has no whole numbers
      value = int(value)
    return str(value).strip() if isinstance(value, str | int) else ""

  def image(self, value: object, field: str) -> Media:
    """The Media of a picture: a path, a URL, base64, encoded bytes, {"bytes": ..., "path": ...}."""
    return Media("image", media_files.picture(value, self.files, f"{self.where}, field {field!r}"))

  def video(self, value: object, field: str) -> Media:
    """The Media of a video: a file, a folder of frames, a list of frames, encoded bytes."""
    return Media("video", media_files.video(value, self.files, f"{self.where}, field {field!r}"))


def structured(value: Any) -> Any:
  """The list or object that a text holds, as JSON or as Python prints it; else the value itself."""
  if not isinstance(value, str):
    return value
  text = value.strip()
  if (text[:1], text[-1:]) in (("[", "]"), ("{", "}")):
    for read in (_of_json, ast.literal_eval):
      with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return read(text)
  return value


_of_json = functools.partial(json.loads, strict=False)


def listed(value: Any) -> Any:
  """A list of objects for an object of lists, as older datasets keep it; else the value itself."""
  if isinstance(value, Mapping) and value and all(isinstance(v, list) for v in value.values()):
    return [dict(zip(value, one, strict=False)) for one in zip(*value.values(), strict=False)]
  return value


def file_stem(path: pathlib.Path) -> str:
  """The name of a file without its suffixes."""
  return path.name.split(".")[0] or path.name
