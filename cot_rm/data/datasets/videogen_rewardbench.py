"""Layout `videogen_rewardbench`: VideoGen-RewardBench (arXiv:2501.13918), a CSV file.

path_A, path_B, prompt, and Overall (as VQ, MQ and TA): A, B or same.
"""

from collections.abc import Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Choice

LABELS: dict[str, Choice | LeftOut] = {
  "a": 1,
  "b": 2,
  "same": LeftOut("tie"),
  "": LeftOut("no label"),
}


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"path_A", "path_B", "Overall"} <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  label = row.label("Overall")
  if label not in LABELS:
    row.fail(f"field 'Overall' must be A, B or same, not {row.get('Overall')!r:.80}")
  yield from compared.labelled(
    row,
    "video_generation",
    row.text("prompt"),
    (row.video(row.get("path_A"), "path_A"), row.video(row.get("path_B"), "path_B")),
    LABELS[label],
    extra=row.extra("A_model", "B_model", "VQ", "MQ", "TA"),
  )
