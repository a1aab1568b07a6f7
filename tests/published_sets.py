"""Small data sets in the layouts of their owners."""

import io
import json

from PIL import Image

from cot_rm.data import datasets

QUESTION = "How many red boxes are there?"
CHOSEN, REJECTED = "There is one red box.", "There are three red boxes."


def encoded(color="red"):
  """A small picture file."""
  out = io.BytesIO()
  Image.new("RGB", (8, 8), color).save(out, "PNG")
  return out.getvalue()


class Folder:
  """A folder of data files and media."""

  def __init__(self, path):
    self.path = path

  def media(self, *names):
    """Writes small pictures; names of videos get the same bytes, as nothing opens them."""
    for name in names:
      path = self.path / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(encoded())

  def write(self, records, name="train.json"):
    """Writes records as JSON, JSON lines or parquet, by the name."""
    path = self.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
      import pyarrow as pa
      import pyarrow.parquet as pq

      pq.write_table(pa.Table.from_pylist(records), path, row_group_size=2)
    elif path.suffix == ".jsonl":
      path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
      path.write_text(json.dumps(records, indent=1))
    return path

  def open(self, records, name="train.json", *, layout="", split="train", **options):
    """The source of records that are written to a file; `layout` names the layout."""
    path = self.write(records, name)
    return datasets.open(f"{layout}:{path}" if layout else path, split, **options)


def preferred(example):
  """The answer or the source of the medium that an example prefers."""
  if example.gold is None:
    return None
  if example.generation:
    return example.media[example.gold - 1].source
  return example.responses[example.gold - 1]
