"""Layout `rapidata`: Rapidata's comparisons of pictures and videos by many people.

image1 and image2 (or video1, video2), prompt, and either the votes (votes_image1, votes_image2) or
the shares of them (weighted_results_image1_preference, weighted_results1_Preference, ...). Of
several questions to people that of preference counts, else of alignment, else of coherence.
"""

import re
from collections.abc import Iterator

from cot_rm.data.datasets import compared
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record

ASPECTS = ("preference", "", "alignment", "coherence")
_SCORE = re.compile(
  r"(?:votes|weighted_results)_?(?:image|video|model)?_?(?P<number>[12])(?:_(?P<aspect>[a-z]+))?",
  re.IGNORECASE,
)


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  media = any({f"{kind}1", f"{kind}2"} <= record.keys() for kind in ("image", "video"))
  return media and bool(_scores(record))


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  kind = "image" if row.get("image1") is not None else "video"
  make = row.image if kind == "image" else row.video
  both = make(row.get(f"{kind}1"), f"{kind}1"), make(row.get(f"{kind}2"), f"{kind}2")
  scores = _scores(row.record)
  aspect = next((one for one in ASPECTS if one in scores), "")
  fields = scores.get(aspect, {})
  if fields.keys() != {"1", "2"}:
    row.fail("has no votes or weighted_results of both candidates")
  first, second = row.number(fields["1"]), row.number(fields["2"])
  yield from compared.labelled(
    row,
    "image_generation" if kind == "image" else "video_generation",
    row.text("prompt"),
    both,
    compared.by_score(first, second),
    extra=row.extra("model1", "model2", fields["1"], fields["2"]),
  )


def _scores(record: Record) -> dict[str, dict[str, str]]:
  """{question to people: {number of the candidate: name of the field}}."""
  found: dict[str, dict[str, str]] = {}
  for name in record:
    if match := _SCORE.fullmatch(name):
      found.setdefault((match["aspect"] or "").lower(), {})[match["number"]] = name
  return found
