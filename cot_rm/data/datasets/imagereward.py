"""Layout `imagereward`: ImageRewardDB (arXiv:2304.05977), pictures of a prompt ranked by people.

A record is one picture (image_path, prompt_id, prompt, rank), and those of one prompt are compared;
or it is a prompt with its pictures (`generations` and `ranking`). The smaller rank is the better.
"""

import functools
from collections.abc import Callable, Hashable, Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Choice, Media


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  single = {"prompt", "prompt_id", "rank"} <= record.keys() and bool(
    {"image_path", "image"} & record.keys()
  )
  return single or {"prompt", "generations", "ranking"} <= record.keys()


def group(row: Row) -> Hashable:
  """What the records that are compared with each other have in common."""
  if row.get("ranking") is not None:
    return row.where
  picture, _ = _ranked_picture(row)
  picture()  # a bad record is left out alone, not its whole group
  return row.id("prompt_id") or row.text("prompt_id"), row.text("prompt").strip()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pairs of the pictures of a prompt."""
  if row.get("ranking") is not None:
    pictures = [
      functools.partial(row.image, path, "generations") for path in row.items("generations")
    ]
    ranks = [row.as_number(rank, "ranking") for rank in row.items("ranking")]
  else:
    pictures, ranks = map(list, zip(*map(_ranked_picture, row.group), strict=True))
  if len(ranks) != len(pictures):
    row.fail(f"{len(pictures)} pictures and {len(ranks)} ranks")
  if len(pictures) < 2:
    yield LeftOut("one picture of its prompt")
    return

  def preferred(i: int, j: int) -> Choice | LeftOut:
    return compared.by_score(ranks[j], ranks[i])

  yield from compared.ranked(
    row,
    "image_generation",
    row.text("prompt"),
    pictures,
    preferred,
    id=row.id("prompt_id", "id"),
    extra=row.extra("classification"),
  )


def _ranked_picture(row: Row) -> tuple[Callable[[], Media], float | None]:
  """The picture of a record and its rank; None: it has none."""
  name = "image" if row.get("image") is not None else "image_path"
  return functools.partial(row.image, row.get(name), name), row.number("rank")
