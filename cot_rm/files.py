"""Files that appear under their name only when they are complete."""

import contextlib
from collections.abc import Iterator

from etils import epath


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
