"""VL-RewardBench (Li et al., arXiv:2411.17451): 1,250 pairs of answers about a picture.

Three groups, by the id: general 183, hallucination 749, reasoning 318. Two papers sorted the ids in
other ways, and a group's figure is comparable only within the same grouping:

    R1-Reward (arXiv:2505.02835)        looked for "rlhf" and "rlaif" in ids that have "RLHF" and
                                        "RLAIF": 484, 448, 318
    UnifiedReward-Think (2505.03318)    took the pairs of POVID, "hallucination_pair", for general:
                                        631, 301, 318

The overall accuracy does not depend on the grouping. It does depend on the order in which the two
responses are shown and on how a verdict is read, and each script has its own way; MODES names them.
"""

import pathlib
import random
from collections.abc import Callable, Sequence

from absl import logging

from cot_rm import registry
from cot_rm.benchmarks import pairs, published, readings, rules
from cot_rm.schema import BadRecord, Example

SIZE = 1250
FILES = (  # patterns, the first that matches any file is read
  "data/test-*.parquet",  # the hub's: id, query, response, human_ranking, image (its bytes)
  "data/data.jsonl",  # the code repository's: the same, and image_path
  "data.json",  # UnifiedReward's: the first as a JSON array, image being its path
  "data.jsonl",  # as the first, or as R1-Reward's: id, prompt, chosen, rejected, image (its path)
)
REASONING = ("mathverse", "mmmu")


def official(name: str) -> str:
  """The group of an example's id, by the prefixes that the benchmark's owners use."""
  if name.startswith(REASONING):
    return "reasoning"
  hallucination = name.startswith(("hallucination_pair", "RLHF-V", "RLAIF-V"))
  return "hallucination" if hallucination else "general"


def r1_reward(name: str) -> str:
  """R1-Reward's group of an id: it looks for lower case, so RLHF-V and RLAIF-V are general."""
  if any(word in name for word in REASONING):
    return "reasoning"
  hallucination = any(word in name for word in ("hallucination", "rlhf", "rlaif"))
  return "hallucination" if hallucination else "general"


def unified_reward(name: str) -> str:
  """UnifiedReward's group of an id, by the part before its first "_" or "-"."""
  prefix = name.replace("_", "-").partition("-")[0]
  if prefix in REASONING:
    return "reasoning"
  return "hallucination" if prefix in ("RLHF", "RLAIF") else "general"


def coin(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """One random order per example, drawn as in UnifiedReward's evaluation: seed 0, one draw per row.

  A draw below a half keeps the published order, any other exchanges it. In the published order the
  better response is the first, except in a few rows (`extra["better"]`). A row that is left out
  (its record or picture is at fault) has a draw, too: all others keep theirs.
  """
  rows = [int(e.extra.get("row", i)) for i, e in enumerate(examples)]  # type: ignore[call-overload]
  draw = random.Random(0).random
  exchanged = [draw() >= 0.5 for _ in range(max(rows, default=-1) + 1)]
  better = [e.extra.get("better", 1) for e in examples]
  return [(int(exchanged[row] != (b == 2)),) for row, b in zip(rows, better, strict=True)]


def length_parity(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """One order per example, as VLMEvalKit and lmms-eval choose it.

  The published order where the two responses have an even number of characters in all, any other
  exchanged.
  """
  odd = [sum(map(len, e.responses)) % 2 == 1 for e in examples]
  return [(int(o != (e.extra.get("better", 1) == 2)),) for o, e in zip(odd, examples, strict=True)]


def _rule(
  group: Callable[[str], str],
  orders: Callable,
  description: str,
  reading: readings.Reading = readings.grammar,
) -> rules.Rule:
  return rules.Rule(
    orders=orders,
    reading=reading,
    family=lambda example: group(str(example.extra["id"])),
    cluster=lambda example: str(example.extra["id"]),  # 25 ids occur twice, with other responses
    description=description,
  )


MODES: dict[str, rules.Rule] = {
  "both": _rule(official, rules.both, "mean of both orders; the owners' groups"),
  "first": _rule(official, rules.first, "the better response always first; the owners' groups"),
  "official": _rule(
    official, length_parity, "one order, by the parity of the lengths; the owners' groups"
  ),
  "r1_reward": _rule(
    r1_reward,
    rules.first,
    "the better response always first; without <answer> the last 1 or 2 of the text, and whatever "
    "is no 1 counts as a 2; R1-Reward's groups",
    readings.r1_reward,
  ),
  "unified_reward": _rule(
    unified_reward,
    coin,
    "one order, by seed 0; right if the right verdict's words are anywhere in the text; "
    "UnifiedReward's groups",
    readings.substring,
  ),
  "lmms_eval": _rule(
    official,
    length_parity,
    "one order, by the parity of the lengths; lmms-eval's sentence, and a half where there is "
    "none, for its coin without a seed; the owners' groups",
    readings.lmms_eval_sentence,
  ),
}


def examples(root: str | pathlib.Path) -> Sequence[Example]:
  """The pairs in the order of their rows, the better response first; see FILES.

  Ids repeat, so an Example's id is "<row>:<id>"; `extra` has `id` and `row`, and `better` if the
  file says which of its two responses people preferred. R1-Reward's copy does not: modes that start
  from the published order then show 5 of the rows in the other one.

  A pair whose record is invalid, or whose picture is missing, raises BadExample where it is read,
  by row and field.

  Raises:
    FileNotFoundError: no such file.
  """
  out = published.read_pairs(published.find_files(root, FILES, "VL-RewardBench"), _example)
  if len(out) != SIZE:
    logging.warning("VL-RewardBench: found %d of its %d pairs", len(out), SIZE)
  return out


def _example(row: int, record: published.Record, path: pathlib.Path, where: str) -> Example:
  folder = path.parent
  id_ = published.text_field(record, "id", where)
  extra = {"id": id_, "row": row}
  if "chosen" in record:
    question = published.text_field(record, "prompt", where)
    responses = (
      published.text_field(record, "chosen", where),
      published.text_field(record, "rejected", where),
    )
  else:
    # The mark of the picture's position is for other chat templates; ours puts the picture first.
    question = published.text_field(record, "query", where)
    for mark in ("<image>\n", "\n<image>", "<image>"):
      question = question.replace(mark, "")
    given, ranking = record.get("response"), record.get("human_ranking")
    if ranking not in ([0, 1], [1, 0]):
      raise BadRecord(
        f"{where}, field 'human_ranking': must be [0, 1] or [1, 0], not {repr(ranking)[:80]}"
      )
    two = [str(one) for one in given] if isinstance(given, list) else []
    if two != given or len(two) != 2 or not all(map(str.strip, two)):
      raise BadRecord(f"{where}, field 'response': must be two texts, not {repr(given)[:80]}")
    extra["better"] = 1 if ranking == [0, 1] else 2
    responses = (two[0], two[1]) if extra["better"] == 1 else (two[1], two[0])
  image = "image_path" if record.get("image") is None and "image_path" in record else "image"
  return Example(
    id=f"{row}:{id_}",
    source="vl_rewardbench",
    task="image_understanding",
    question=question,
    media=(published.picture(record.get(image), (folder,), f"{where}, field {image!r}"),),
    responses=responses,
    gold=1,
    extra=extra,
  )


def score(
  judgements: pairs.Judgements,
  swapped: pairs.Judgements,
  *,
  mode: str = "both",
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """`pairs.tally` by group, and the mean of the groups.

  Args:
    judgements: of the examples with the better response first; None where not asked.
    swapped: of the same with the better response second.
    mode: in MODES: "both" orders and the owners' groups; "first", the same with the better response
      always first; "official" (VLMEvalKit), "r1_reward", "unified_reward" and "lmms_eval" as their
      scripts evaluate.
    fidelity, contradicts: see `pairs.tally`.

  Returns:
    The figures of `pairs.tally`, accuracy being "overall" in the benchmark's table, and
    accuracy_macro: mean of the groups' accuracies.
  """
  rule = registry.lookup(MODES, mode, "mode")
  out = pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
  pairs.add_macro(out, judgements, swapped, rule)
  return out
