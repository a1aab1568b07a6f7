"""Layout `pickapic`: Pick-a-Pic v1 and v2 (arXiv:2305.01569), and sets for diffusion DPO like it.

Two pictures of a caption, jpg_0 and jpg_1 (bytes or paths), and their labels, 1 for the preferred
one and 0.5 each for a tie; label_0 alone is enough. Rows without a label have has_label false.
"""

from collections.abc import Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record

KEPT = ("image_0_uid", "image_1_uid", "model_0", "model_1", "ranking_id", "user_id")


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"jpg_0", "jpg_1"} <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  candidates = row.image(row.get("jpg_0"), "jpg_0"), row.image(row.get("jpg_1"), "jpg_1")
  first, second = row.number("label_0"), row.number("label_1")
  if first is not None and second is None:
    second = 1 - first
  elif first is None and second is not None:
    first = 1 - second
  gold = compared.by_score(first, second)
  if row.label("has_label") in ("false", "0"):
    gold = LeftOut("no label")
  yield from compared.labelled(
    row,
    "image_generation",
    row.text("caption", "prompt"),
    candidates,
    gold,
    id=row.id("ranking_id", "id"),
    extra=row.extra(*KEPT),
  )
