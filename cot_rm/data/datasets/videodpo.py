"""Layout `videodpo`: VideoDPO's pair.json (arXiv:2412.14167).

video1 and video2 are numbers: 2n is winvideos/00000n.mp4 and 2n + 1 is losevideos/00000n.mp4. The
label is 0 where video1 is preferred, as it always is in the release; frame_caption is the caption.
"""

from collections.abc import Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"video1", "video2"} <= record.keys() and bool({"frame_caption", "label"} & record.keys())


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  label = row.number("label") or 0.0
  if label not in (0, 1):
    row.fail(f"field 'label' must be 0 or 1, not {row.get('label')!r:.80}")
  caption = row.get("frame_caption")
  question = caption[0] if isinstance(caption, list) and caption else caption
  yield from compared.labelled(
    row,
    "video_generation",
    question if isinstance(question, str) else row.text("frame_caption", "caption", "prompt"),
    (row.video(_path(row, "video1"), "video1"), row.video(_path(row, "video2"), "video2")),
    2 if label else 1,
    shuffled=True,
  )


def _path(row: Row, name: str) -> object:
  if (number := row.id(name)).isdecimal() and len(number) < 10:
    return f"{'losevideos' if int(number) % 2 else 'winvideos'}/{int(number) // 2:06d}.mp4"
  return row.get(name)
