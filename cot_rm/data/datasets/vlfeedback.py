"""Layout `vlfeedback`: VLFeedback (arXiv:2312.10665), answers of models with GPT-4V's ratings.

`completions` has each answer with a Rating from 1 to 5 in three aspects. Of two answers the one
with the higher mean is preferred, over the aspects in which both have a rating.
"""

from collections.abc import Iterator

from cot_rm.data.datasets import compared, judge_prompts, judged
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Choice


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"prompt", "completions"} <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pairs of a record."""
  answers, ratings = [], []
  for number, completion in enumerate(row.items("completions")):
    where = f"completions[{number}]"
    if not isinstance(completion, dict):
      row.fail(f"field {where!r} must be an object, not {completion!r:.80}")
    response = completion.get("response")
    if not isinstance(response, str):
      row.fail(f"field '{where}.response' must be text, not {response!r:.80}")
    if not response.strip():
      yield LeftOut("an answer is empty")
      continue
    answers.append(response)
    ratings.append(_ratings(row, completion.get("annotations"), where))

  def preferred(i: int, j: int) -> Choice | LeftOut:
    common = ratings[i].keys() & ratings[j].keys()
    if not common:
      return LeftOut("no label")
    return compared.by_score(*(sum(ratings[k][name] for name in common) for k in (i, j)))

  media = tuple(judged.fields(row))
  if not media:
    row.fail("field 'img_path' is missing")
  yield from compared.ranked(
    row,
    "image_understanding",
    judge_prompts.without_marks(row.text("prompt")),
    answers,
    preferred,
    media=media,
  )


def _ratings(row: Row, annotations: object, where: str) -> dict[str, float]:
  """{aspect: rating} of the aspects that have one."""
  if annotations is None:
    return {}
  if not isinstance(annotations, dict):
    row.fail(f"field '{where}.annotations' must be an object, not {annotations!r:.80}")
  out = {}
  for aspect, annotation in annotations.items():
    rating = annotation.get("Rating") if isinstance(annotation, dict) else annotation
    try:
      out[str(aspect)] = float(str(rating).strip())
    except ValueError:  # "N/A"
      continue
  return {aspect: rating for aspect, rating in out.items() if rating == rating}
