"""Layout `hpd`: the Human Preference Datasets v2 (arXiv:2306.09341) and v3 (arXiv:2508.03789).

v2's train.json has two pictures (image_path or file_path) and human_preference, 1 for the preferred
one; its test.json has several and `rank`, the smaller the better. v3 has path1, which is preferred
to path2, and confidence. v2's pictures are in folders named like the files.
"""

import functools
from collections.abc import Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row, structured
from cot_rm.records import Record
from cot_rm.schema import Choice

LABELS = ("human_preference", "rank")
PATHS = ("image_path", "file_path", "image_paths", "images")


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  v2 = "prompt" in record and record.keys() & {*LABELS}
  lists = any(isinstance(structured(record.get(name)), list) for name in PATHS)
  return bool(v2 and lists) or {"path1", "path2", "prompt"} <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record, or the pairs of its ranking."""
  question = row.text("prompt")
  if row.get("path1") is not None or row.get("path2") is not None:
    both = row.image(row.get("path1"), "path1"), row.image(row.get("path2"), "path2")
    kept = row.extra("confidence", "model1", "model2", "source")
    yield from compared.labelled(
      row, "image_generation", question, both, 1, shuffled=True, extra=kept
    )
    return
  name = next((name for name in PATHS if row.get(name) is not None), PATHS[0])
  pictures = [functools.partial(row.image, path, name) for path in row.items(name)]
  field = next((one for one in LABELS if row.get(one) is not None), "")
  if not field:
    row.fail(f"it has no label: {' and '.join(map(repr, LABELS))} are missing")
  ranks = [row.as_number(rank, field) for rank in row.items(field)]
  if len(ranks) != len(pictures) or any(rank is None for rank in ranks):
    row.fail(
      f"field {field!r} must have a number for each of {len(pictures)} pictures: {ranks!r:.80}"
    )
  if field == "human_preference":
    if len(pictures) != 2:
      row.fail(f"two pictures are compared; found {len(pictures)}")
    gold = compared.by_score(*ranks)
    yield from compared.labelled(
      row, "image_generation", question, (pictures[0], pictures[1]), gold
    )
    return

  def preferred(i: int, j: int) -> Choice | LeftOut:
    return compared.by_score(ranks[j], ranks[i])

  yield from compared.ranked(row, "image_generation", question, pictures, preferred)
