"""Layout `genai_bench`: GenAI-Bench (arXiv:2406.04485), pictures and videos with votes of people.

prompt, left_image and right_image (or left_video, right_video, video_left, video_right) and
vote_type: leftvote, rightvote, tievote or bothbad_vote. Its edited pictures are left out: what they
were made from cannot be shown beside the candidates.
"""

from collections.abc import Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Choice

VOTES: dict[str, Choice | LeftOut] = {
  "leftvote": 1,
  "rightvote": 2,
  "tievote": LeftOut("tie"),
  "bothbad_vote": LeftOut("both are bad"),
}
FIELDS = (  # (left, right, kind)
  ("left_image", "right_image", "image"),
  ("left_output_image", "right_output_image", "image"),
  ("image_left", "image_right", "image"),
  ("left_video", "right_video", "video"),
  ("video_left", "video_right", "video"),
)


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return "vote_type" in record and any(left in record for left, _, _ in FIELDS)


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  if row.get("source_image") is not None:
    yield LeftOut("edited: its source cannot be shown beside the candidates")
    return
  fields = next((names for names in FIELDS if row.get(names[0]) is not None), None)
  if fields is None:
    row.fail(f"none of the fields {', '.join(left for left, _, _ in FIELDS)} is there")
  left, right, kind = fields
  make = row.image if kind == "image" else row.video
  vote = row.label("vote_type")
  if vote not in VOTES:
    given = row.get("vote_type")
    row.fail(f"field 'vote_type' must be one of {', '.join(VOTES)}, not {given!r:.80}")
  gold = VOTES[vote]
  if isinstance(gold, LeftOut) and row.options.ties == "keep":
    gold = LeftOut("tie")
  yield from compared.labelled(
    row,
    "image_generation" if kind == "image" else "video_generation",
    row.text("prompt"),
    (make(row.get(left), left), make(row.get(right), right)),
    gold,
    id=row.id("id", "index", "idx"),
    extra=row.extra("left_model", "right_model", "vote_type"),
  )
