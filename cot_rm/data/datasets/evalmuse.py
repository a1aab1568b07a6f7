"""Layout `evalmuse`: EvalMuse-40K (arXiv:2412.18150), pictures of a prompt scored by people.

A record is one picture (img_path, prompt_id, prompt, total_score, a list of scores), and those of
one prompt are compared by the means of their scores.
"""

import functools
from collections.abc import Callable, Hashable, Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row, structured
from cot_rm.records import Record
from cot_rm.schema import Choice, Media


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"prompt_id", "prompt", "img_path", "total_score"} <= record.keys()


def group(row: Row) -> Hashable:
  """What the records that are compared with each other have in common."""
  picture, _ = _scored_picture(row)
  picture()  # a bad record is left out alone, not its whole group
  return row.id("prompt_id") or row.text("prompt_id"), row.text("prompt").strip()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pairs of the pictures of a prompt."""
  if len(row.group) < 2:
    yield LeftOut("one picture of its prompt")
    return
  pictures, means = zip(*map(_scored_picture, row.group), strict=True)

  def preferred(i: int, j: int) -> Choice | LeftOut:
    return compared.by_score(means[i], means[j])

  yield from compared.ranked(
    row,
    "image_generation",
    row.text("prompt"),
    pictures,
    preferred,
    id=row.id("prompt_id"),
    extra=row.extra("type"),
  )


def _scored_picture(row: Row) -> tuple[Callable[[], Media], float | None]:
  """The picture of a record and the mean of its scores; None: it has none."""
  picture = functools.partial(row.image, row.get("img_path"), "img_path")
  value = structured(row.get("total_score"))
  scores = [
    row.as_number(one, "total_score") for one in (value if isinstance(value, list) else [value])
  ]
  known = [score for score in scores if score is not None]
  return picture, sum(known) / len(known) if known else None
