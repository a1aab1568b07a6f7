"""Layout `videofeedback`: VideoFeedback (arXiv:2406.15252), single videos with five scores each.

They are no pairs: no two videos of a caption are compared. All are left out, with that reason.
"""

from collections.abc import Iterator

from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"text prompt", "visual quality"} <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """No pair."""
  del row
  yield LeftOut("pointwise: one candidate is scored")
