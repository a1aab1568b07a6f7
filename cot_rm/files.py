"""Files that appear under their name only when they are complete, and hashes of their content."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from etils import epath


class BlockRule(NamedTuple):
  """Which bytes of a content are hashed: all of a small one, else its size and spread blocks."""

  limit: int  # bytes up to which a content is hashed as a whole
  blocks: int  # of a larger content, evenly spread: the first and the last among them
  block: int  # bytes of a block


FULL = BlockRule(limit=1 << 20, blocks=64, block=1 << 14)
QUICK = BlockRule(limit=1 << 13, blocks=2, block=1 << 12)  # for many files: little is read
# In the folder of a data set, left by its writer: {split: hash of its examples in their order}.
IDENTITY = "identity.json"


def write_atomic(path: epath.PathLike, data: str | bytes) -> None:
  """Writes a file, and replaces an old one; a process that is killed leaves the old one in place.

  Args:
    path: the folder is made where it is missing.
    data: text is written as UTF-8.
  """
  with replacing(path) as part:
    part.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
  """Gives the path of a temporary file, which gets the name `path` when the block ends.

  The temporary file is removed where the block raises. Two processes must not write one path at
  the same time.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.parent / f"{path.name}.part"
  try:
    yield part
    part.replace(path)
  except BaseException:
    part.unlink(missing_ok=True)
    raise


def digest(*parts: bytes | memoryview) -> str:
  """16 hexadecimal digits of a hash of byte strings; it depends on where each one ends."""
  out = hashlib.blake2b(digest_size=8)
  for part in parts:
    out.update(memoryview(part).nbytes.to_bytes(8, "little"))
    out.update(part)
  return out.hexdigest()


def content_hash(path: str | os.PathLike[str], rule: BlockRule = FULL) -> str:
  """Hash of a file's content by a BlockRule; the same as `bytes_hash` of its bytes.

  A file is read again only when its size or its time of modification has changed.
  """
  stat = os.stat(path)
  return _content_hash(os.fspath(path), stat.st_size, stat.st_mtime_ns, rule)


def bytes_hash(content: bytes | bytearray | memoryview, rule: BlockRule = FULL) -> str:
  """Hash of bytes in memory by a BlockRule."""
  view = memoryview(content).cast("B")
  return _spread_hash(len(view), lambda start, count: view[start : start + count], rule)


@functools.lru_cache(maxsize=1 << 16)
def _content_hash(path: str, size: int, mtime_ns: int, rule: BlockRule) -> str:
  del mtime_ns  # with the size it tells whether the file has changed
  with open(path, "rb") as file:

    def read(start: int, count: int) -> bytes:
      file.seek(start)
      return file.read(count)

    return _spread_hash(size, read, rule)


def _spread_hash(size: int, read: Callable[[int, int], bytes | memoryview], rule: BlockRule) -> str:
  if size <= rule.limit:
    return digest(read(0, size))
  last = size - rule.block
  starts = [last * i // (rule.blocks - 1) for i in range(rule.blocks)]
  return digest(str(size).encode(), *(read(start, rule.block) for start in starts))
