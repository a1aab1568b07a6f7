"""Reads the records of a public benchmark as its owners publish them, and finds its pictures."""

import json
import pathlib

from cot_rm.schema import Media


def find(root, patterns, benchmark):
  """The files of the first pattern under `root` that has some, sorted; or `root`, if it is a file.

  Raises FileNotFoundError that names the patterns.
  """
  root = pathlib.Path(root)
  if root.is_file():
    return [root]
  for pattern in patterns:
    if files := sorted(root.glob(pattern)):
      return files
  raise FileNotFoundError(
    f"{benchmark}: {str(root)!r} holds none of {', '.join(patterns)}; "
    "config.eval.data names the folder into which its owners' files were downloaded"
  )


def records(path):
  """Yields (where, record) of a .jsonl or .parquet file; `where` names the row for errors.

  Raises ValueError on a line that is no JSON object.
  """
  if path.suffix == ".parquet":
    import pyarrow.parquet  # slow to import, and only these files need it

    with pyarrow.parquet.ParquetFile(path) as file:
      number = 0
      for batch in file.iter_batches(batch_size=64):
        for record in batch.to_pylist():
          yield f"{path}, row {number}", record
          number += 1
    return
  with path.open(encoding="utf-8") as file:
    for number, line in enumerate(file, 1):
      where = f"{path}, line {number}"
      if not line.strip():
        continue
      try:
        record = json.loads(line)
      except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
      if not isinstance(record, dict):
        raise ValueError(f"{where}: an object is due, not {type(record).__name__}")
      yield where, record


def text(record, name, where):
  """A field that must hold text. Raises ValueError naming row and field."""
  value = record.get(name)
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f"{where}, field {name!r}: text is due, not {value!r}")
  return value


def there(paths, where):
  """The first of these paths that exists. Raises FileNotFoundError naming the row and all."""
  for path in paths:
    if path.exists():
      return path
  looked = ", ".join(map(str, paths))
  raise FileNotFoundError(f"{where}: no such picture or folder of frames: {looked}")


def picture(value, folders, where):
  """The Media of a picture: its path, under one of the folders, or {"bytes": ..., "path": ...}."""
  if isinstance(value, dict) and value.get("bytes"):
    return Media("image", value["bytes"])
  name = value.get("path") if isinstance(value, dict) else value
  if not isinstance(name, str) or not name:
    raise ValueError(f"{where}: a picture's path or bytes are due, not {name!r}")
  return Media("image", str(there([folder / name for folder in folders], where)))
