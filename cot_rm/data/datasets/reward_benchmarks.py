"""Layout `reward_benchmarks`: the pairs of VL-RewardBench and of Multimodal RewardBench.

VL-RewardBench (arXiv:2411.17451): query, response (two), human_ranking ([0, 1]: the first is
better), image. Multimodal RewardBench (arXiv:2502.14191): Text, Image, Output1, Output2, Better.
What a model is evaluated on must not be trained on; `benchmarks/` has their own metrics.
"""

from collections.abc import Iterator

from cot_rm.data.datasets import compared, judge_prompts
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record
from cot_rm.schema import Choice


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  return {"query", "response", "human_ranking"} <= record.keys() or {
    "Output1",
    "Output2",
    "Better",
  } <= record.keys()


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  if "Better" in row.record:
    golds: dict[str, Choice] = {"output1": 1, "output2": 2}
    if row.label("Better") not in golds:
      row.fail(f"field 'Better' must be Output1 or Output2, not {row.get('Better')!r:.80}")
    gold = golds[row.label("Better")]
    answers = row.text("Output1"), row.text("Output2")
    question, images = row.text("Text"), ("Image",)
    id, extra = row.id("ID"), row.extra("Category", "Image")
  else:
    ranking = [row.as_number(rank, "human_ranking") for rank in row.items("human_ranking")]
    answers = tuple(row.items("response"))
    if ranking not in ([0, 1], [1, 0]) or len(answers) != 2:
      row.fail(
        f"needs two responses and a human_ranking of [0, 1] or [1, 0]; found {len(answers)} and "
        f"{row.get('human_ranking')!r:.80}"
      )
    gold = 1 if ranking == [0, 1] else 2
    question, images = row.text("query"), ("image", "image_path")
    id, extra = row.id(), {}
  image = next((name for name in images if row.get(name) is not None), images[0])
  yield from compared.labelled(
    row,
    "image_understanding",
    judge_prompts.without_marks(question),
    answers,
    gold,
    media=(row.image(row.get(image), image),),
    id=id,
    extra=extra,
  )
