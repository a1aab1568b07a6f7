"""Lookup in a table of names, with an error that suggests the nearest known name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


def lookup(table: Mapping[str, Value], name: str, what: str) -> Value:
  """Returns the entry of `name`.

  Args:
    table: a literal dict, such as STAGES.
    name: the key, as a user wrote it.
    what: the kind of name for the message, such as "stage".

  Raises:
    ValueError: `name` is not in the table; the message suggests the nearest key and lists all keys.
  """
  if name not in table:
    raise ValueError(f"unknown {what} {name!r}; {hint(name, table)}")
  return table[name]


def hint(name: str, known: Iterable[str]) -> str:
  """The end of an error message: "did you mean 'eval'? known: sft, rl, eval"."""
  known = [*known]
  near = difflib.get_close_matches(str(name), known, 1)
  return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(known)}"
