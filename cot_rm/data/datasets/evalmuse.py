"""Layout `evalmuse`: EvalMuse-40K (arXiv:2412.18150), pictures of a prompt scored by people.

A record is one picture (img_path, prompt_id, total_score, a list of scores), and those of one
prompt_id are compared by the means of their scores.
"""

from collections.abc import Hashable, Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row, structured
from cot_rm.records import Record
from cot_rm.schema import Choice


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"prompt_id", "prompt", "img_path", "total_score"} <= record.keys()


def group(row: Row) -> Hashable:
  """What the records that are compared with each other have in common."""
  return row.id("prompt_id") or row.text("prompt_id")


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pairs of the pictures of a prompt."""
  if len(row.group) < 2:
    yield LeftOut("one picture of its prompt")
    return
  means = [_mean(row, record.get("total_score")) for record in row.group]

  def preferred(i: int, j: int) -> Choice | LeftOut:
    return compared.by_score(means[i], means[j])

  yield from compared.ranked(
    row,
    "image_generation",
    row.text("prompt"),
    [row.image(record.get("img_path"), "img_path") for record in row.group],
    preferred,
    id=row.id("prompt_id"),
    extra=row.extra("type"),
  )


def _mean(row: Row, value: object) -> float | None:
  """The mean of the scores; None without any."""
  value = structured(value)
  scores = [
    row.as_number(one, "total_score") for one in (value if isinstance(value, list) else [value])
  ]
  known = [score for score in scores if score is not None]
  return sum(known) / len(known) if known else None
