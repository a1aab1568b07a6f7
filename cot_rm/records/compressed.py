"""Plain bytes of a file that may be compressed (.gz, .bz2, .zst, .lz4): unpacked once, on disk."""

import pathlib
import shutil
import tempfile
from typing import BinaryIO

from absl import logging

SUFFIXES = (".gz", ".bz2", ".zst", ".lz4")


def plain_suffix(path: pathlib.Path) -> str:
  """The suffix of a file's name without that of its compression, in lower case."""
  return _plain(path).suffix.lower()


def stem(path: pathlib.Path) -> str:
  """A file's name without its suffix and that of its compression."""
  return _plain(path).stem


class Plain:
  """The plain bytes of a file; a compressed one is unpacked to a temporary file at first."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._unpacked = _unpack(path) if path.suffix.lower() in SUFFIXES else None

  def open(self) -> BinaryIO:
    """Opens the bytes for reading."""
    return open(self._unpacked.name if self._unpacked else self.path, "rb")


def _plain(path: pathlib.Path) -> pathlib.Path:
  return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def _unpack(path: pathlib.Path) -> "tempfile._TemporaryFileWrapper[bytes]":
  import pyarrow  # slow to import, and few files need it

  out = tempfile.NamedTemporaryFile(prefix="cot_rm_")  # removed with the object
  logging.info("%s: unpacking to %s", path, out.name)
  compression = path.suffix.lower()[1:].replace("zst", "zstd").replace("gz", "gzip")
  try:
    with pyarrow.input_stream(str(path), compression=compression) as stream:
      shutil.copyfileobj(stream, out, 1 << 24)
  except OSError as error:
    raise ValueError(f"{path}: cannot be unpacked: {error}") from error
  out.flush()
  return out
