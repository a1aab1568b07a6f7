"""Layout of this package: JSON records as `data.jsonl` writes them."""

from collections.abc import Iterator

from cot_rm import schema
from cot_rm.data import jsonl
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import BadExample, BadRecord, Example

KEEPS_IDS = True  # ids that come twice are not told apart


def matches(record: Record) -> bool:
  """Whether a record has a task of ours."""
  return record.get("task") in schema.TASKS or {"task", "question", "gold"} <= record.keys()


def pairs(row: Row) -> Iterator[Example]:
  """The example of a record."""
  try:
    yield jsonl.to_example(row.record, row.path.parent, row.where)
  except BadExample:
    raise
  except (TypeError, ValueError) as error:
    raise BadRecord(str(error)) from error
