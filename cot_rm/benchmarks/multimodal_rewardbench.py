"""Multimodal RewardBench (Yasunaga et al., arXiv:2502.14191): pairs of answers about a picture.

The owners' scripts/0_download_data.py makes all_data.json and images/ of 4,711 pairs. The 500 pairs
about Hateful Memes (safety/toxicity), which may not be passed on, make them 5,211; published
figures are over one or the other. Accuracy is over pairs: a micro average of the categories.

The questions of VisIT-Bench's pairs look as if they belonged to other responses
(facebookresearch/multimodal_rewardbench, issue 8).
"""

from collections.abc import Callable, Mapping

from cot_rm import registry
from cot_rm.benchmarks import pairs, readings, rules
from cot_rm.schema import BadRecord, Example

NAME = "Multimodal RewardBench"
NEEDS = "all_data.json and images/, made by its owners' scripts/0_download_data.py"
LAYOUT = "reward_benchmarks"
FILES: tuple[str, ...] = ("all_data.json", "data/all_data.json", "data/test-*.parquet")
SIZES: Mapping[str, range] = {
  "without Hateful Memes": range(4711, 4712),
  "complete": range(5211, 5212),
}


def category(example: Example) -> str:
  """The category of a pair, as the owners' script splits them.

  Safety is about bias (ids that begin with "pairs") or toxicity, reasoning about math (ids that
  begin with "math") or coding.

  Raises BadRecord if the record has no category.
  """
  name, id_ = example.extra.get("Category"), example.id.lower()
  if not isinstance(name, str) or not name.strip():
    raise BadRecord(f"example {example.id!r}: field 'Category' must be text, not {name!r:.80}")
  if name == "safety":
    return "safety/bias" if id_.startswith("pairs") else "safety/toxicity"
  if name == "reasoning":
    return "reasoning/math" if id_.startswith("math") else "reasoning/coding"
  return name


def _rule(
  orders: Callable, description: str, reading: readings.Reading = readings.grammar
) -> rules.Rule:
  return rules.Rule(
    orders=orders,
    reading=reading,
    family=category,
    cluster=lambda example: example.extra.get("Image", example.id),  # pairs about one picture
    description=description,
  )


MODES: dict[str, rules.Rule] = {
  "both": _rule(rules.both, "mean of both orders"),
  "first": _rule(rules.first, "the stored order"),
  "official": _rule(
    rules.first,
    "the stored order; [[A]] wins over [[B]], and one coin of seed 123 decides what is unreadable",
    readings.brackets_or_coin,
  ),
  "r1_reward": _rule(
    rules.better_first,
    "the better response always first; without <answer> the last 1 or 2 of the text, and whatever "
    "is no 1 counts as a 2",
    readings.r1_reward,
  ),
  "lmms_eval": _rule(
    rules.first,
    "the stored order; [[A]] wins over [[B]], and what is unreadable counts as A",
    readings.brackets_or_first,
  ),
}


def score(
  judgements: pairs.Judgements,
  swapped: pairs.Judgements,
  *,
  mode: str = "both",
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """`pairs.tally` by category.

  Args:
    judgements: of the examples as they are stored; None where not asked.
    swapped: of the same with the candidates exchanged.
    mode: in MODES: "both" orders, or the stored one, "first"; "official", "r1_reward" and
      "lmms_eval" as their scripts evaluate.
    fidelity, contradicts: see `pairs.tally`.
  """
  rule = registry.lookup(MODES, mode, "mode")
  return pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
