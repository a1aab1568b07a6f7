"""Checked access to the fields of a JSON record; errors name the file, the line and the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from cot_rm import registry
from cot_rm.schema import BadRecord

Value = TypeVar("Value")

MISSING = object()  # the value of a key that is not there
_NAMES = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


@dataclasses.dataclass(frozen=True)
class Field:
  """A value in a JSON record, and its place.

  record = Field(json.loads(line), "pairs.jsonl, line 3")
  record.get("media").items()[0].get("path").of_type(str)
  """

  value: Any
  where: str  # begins every message: file and line
  path: str = ""  # of the field in the record, such as "media[0].path"; "" for the record itself

  @property
  def place(self) -> str:
    """Where the field is, for error messages."""
    return f"{self.where}, field {self.path!r}" if self.path else self.where

  def fail(self, message: str) -> NoReturn:
    """Raises BadRecord: the place and the message."""
    raise BadRecord(f"{self.place}: {message}")

  def get(self, key: str) -> Field:
    """The field of an object; its value is MISSING if the object has no such key."""
    path = f"{self.path}.{key}" if self.path else key
    return Field(self.of_type(dict).get(key, MISSING), self.where, path)

  def items(self) -> list[Field]:
    """The elements of a list."""
    values = self.of_type(list)
    return [Field(value, self.where, f"{self.path}[{i}]") for i, value in enumerate(values)]

  def of_type(self, kind: type[Value]) -> Value:
    """The value, if it is a `kind` (true and false are not numbers); raises BadRecord if not."""
    if self.value is MISSING:
      raise BadRecord(f"{self.where}: field {self.path!r} is missing")
    if not isinstance(self.value, kind) or isinstance(self.value, bool):
      self.fail(f"must be {_NAMES[kind]}, not {self.kind}")
    return self.value

  def optional(self, kind: type[Value], default: Value | None = None) -> Value | None:
    """As `of_type`; the default if the value is missing or null."""
    return default if self.value is MISSING or self.value is None else self.of_type(kind)

  def text(self) -> str:
    """A string that is not blank."""
    value = self.of_type(str)
    if not value.strip():
      self.fail("is empty")
    return value

  @property
  def kind(self) -> str:
    """The type of the value, for error messages."""
    return "null" if self.value is None else type(self.value).__name__

  def check_keys(self, known: Iterable[str], hint: str = "") -> None:
    """Raises BadRecord if the object has a key that is not known; suggests the nearest one."""
    known = [*known]
    for key in self.of_type(dict):
      if key not in known:
        advice = f"; {hint}" if hint else ""
        self.fail(f"unknown key {key!r}; {registry.hint(key, known)}{advice}")

  def exactly_one(self, *keys: str) -> Field:
    """The field of the object under one of some keys; BadRecord if none or several have a value."""
    found = [key for key in keys if self.of_type(dict).get(key) is not None]
    if len(found) != 1:
      self.fail(f"must have either {' or '.join(map(repr, keys))}")
    return self.get(found[0])
