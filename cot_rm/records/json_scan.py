"""Byte offsets of the records in JSON files of any size: lines, objects in a row, array elements.

A record is found by its brackets and strings alone, so one that is no JSON does not hide the rest.
"""

import array
import json
import re
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

CHUNK = 1 << 22
LONGEST_LINE = 1 << 26  # a first line that is longer is taken for a file without lines

# Names under which a single top-level object may have its list of records.
WRAPPERS = ("data", "examples", "records", "rows", "items", "samples", "instances", "pairs")

Form = Literal["lines", "objects", "array"]

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|"|[{}\[\],:]', re.DOTALL)
_BOM = b"\xef\xbb\xbf"
_SPACES = np.frombuffer(b" \t\r", np.uint8)


class Spans(NamedTuple):
  """Where the records of a file are."""

  form: Form
  starts_N: np.ndarray  # i64, offset of the first byte of each record
  ends_N: np.ndarray  # i64, offset behind its last byte
  numbers_N: np.ndarray  # i64, number of its line; in other forms its index


def scan(file: BinaryIO) -> Spans:
  """Finds the records of a JSON file, whatever its form.

  A single object with a list under one of WRAPPERS stands for that list.
  """
  form, start = _form(file)
  spans = _lines(file, start) if form == "lines" else _nested(file, start, form)
  if len(spans.starts_N) == 1 and form != "array":
    return _unwrapped(file, start) or spans
  return spans


def _form(file: BinaryIO) -> tuple[Form, int]:
  """(the form of a file, the offset of its text behind a byte order mark)."""
  file.seek(0)
  start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
  file.seek(start)
  first = _next_line(file)
  if first.startswith(b"["):
    return "array", start
  if _is_json(first) or _depth(first) <= 0:
    return "lines", start
  second = _next_line(file, strip=False)
  # An indented second line belongs to the object of the first; else the first is a bad record.
  is_record = second.startswith(b"{") and _is_json(second)
  return "lines" if is_record or not second else "objects", start


def _next_line(file: BinaryIO, *, strip: bool = True) -> bytes:
  """The next line that is not blank; b"" at the end."""
  while line := file.readline(LONGEST_LINE):
    if stripped := line.strip():
      return stripped if strip else line
  return b""


def _is_json(line: bytes) -> bool:
  try:
    json.loads(line)
  except (ValueError, RecursionError):
    return False
  return True


def _depth(line: bytes) -> int:
  """The brackets that a line opens and does not close."""
  tokens = [match[0] for match in _TOKEN.finditer(line)]
  return sum((t in (b"{", b"[")) - (t in (b"}", b"]")) for t in tokens)


def _lines(file: BinaryIO, start: int) -> Spans:
  """Lines that are not blank."""
  file.seek(start)
  breaks, spaced, at = [], [np.array([start])], start  # spaced: lines that may be blank
  while chunk := file.read(CHUNK):
    text = np.frombuffer(chunk, np.uint8)
    found = np.flatnonzero(text == 10)
    space_after = np.isin(np.append(text, np.uint8(32))[found + 1], _SPACES)
    breaks.append(found + at)
    spaced.append((found + at + 1)[space_after])
    at += len(chunk)
  ends_L = np.concatenate([*breaks, [at]]).astype(np.int64)
  starts_L = np.concatenate([[start], ends_L[:-1] + 1]).astype(np.int64)
  filled_L = ends_L > starts_L
  for i in np.flatnonzero(np.isin(starts_L, np.concatenate(spaced)) & filled_L):
    file.seek(starts_L[i])
    filled_L[i] = bool(file.read(ends_L[i] - starts_L[i]).strip())
  chosen = np.flatnonzero(filled_L)
  return Spans("lines", starts_L[chosen], ends_L[chosen], chosen + 1)


def _nested(file: BinaryIO, start: int, form: Form) -> Spans:
  """Objects one after the other, or the elements of an array."""
  outer = 1 if form == "array" else 0  # the depth at which records are
  starts, ends = array.array("q"), array.array("q")
  depth, opened = 0, None  # opened: where the text of an array's element begins
  at = start
  for token, at in _tokens(file, start):
    if token in b"{[":
      if depth == outer == 0:
        starts.append(at)
      depth += 1
      if depth == outer == 1:
        opened = at + 1
    elif token in b"}]":
      depth -= 1
      if outer == 0 and depth == 0:
        ends.append(at + 1)
      if outer == 1 and depth == 0:
        break
    elif token == b"," and depth == outer == 1:
      starts.append(opened)
      ends.append(at)
      opened = at + 1
  size = file.seek(0, 2)
  if outer == 1 and opened is not None:
    end = at if depth == 0 else size
    if _first_byte(file, opened, end):  # not after a trailing comma, nor in []
      starts.append(opened)
      ends.append(end)
  ends.extend([size] * (len(starts) - len(ends)))  # a file that ends within its last record
  numbers = np.arange(len(starts))
  return Spans(form, np.array(starts, np.int64), np.array(ends, np.int64), numbers)


def _unwrapped(file: BinaryIO, start: int) -> Spans | None:
  """The elements of the only list that an object has under one of WRAPPERS; None if none."""
  found: list[tuple[int, bytes]] = []
  depth, key, last = 0, b"", b""
  for token, at in _tokens(file, start):
    if token in b"{[":
      depth += 1
      if depth == 2 and token == b"[" and key.decode(errors="replace") in WRAPPERS:
        found.append((at, key))
    elif token in b"}]":
      depth -= 1
    elif depth == 1:
      key = last.strip(b'"') if token == b":" else b""
    last = token
  if len(found) != 1:
    return None
  spans = _nested(file, found[0][0], "array")
  for first, end in zip(spans.starts_N[:1], spans.ends_N[:1], strict=True):
    if _first_byte(file, first, end) != b"{":
      return None
  return spans


def _first_byte(file: BinaryIO, start: int, end: int) -> bytes:
  """The first byte between two offsets that is not white space; b"" if there is none."""
  file.seek(start)
  while start < end and (text := file.read(min(end - start, CHUNK))):
    if text.strip():
      return text.strip()[:1]
    start += len(text)
  return b""


def _tokens(file: BinaryIO, start: int) -> Iterator[tuple[bytes, int]]:
  """(token, offset) of each string, bracket, comma and colon from `start`."""
  file.seek(start)
  rest, at = b"", start
  size = CHUNK
  while True:
    chunk = file.read(size)
    buffer = rest + chunk
    rest = b""
    for match in _TOKEN.finditer(buffer):
      if match[0] == b'"' and chunk:  # the string goes on in the next chunk
        rest = buffer[match.start() :]
        break
      yield match[0], at + match.start()
    if not chunk:
      return
    at += len(buffer) - len(rest)
    size = max(CHUNK, len(rest))
