"""VL-RewardBench (Li et al., arXiv:2411.17451): 1,250 pairs of answers about a picture.

Three groups: general 183, hallucination 749, reasoning 318, by the id. Two papers sorted the ids
otherwise, and a group's figure can be compared only within one of these:

    R1-Reward (arXiv:2505.02835)        looked for "rlhf" and "rlaif" in ids that have "RLHF" and
                                        "RLAIF": 484, 448, 318
    UnifiedReward-Think (2505.03318)    took the pairs of POVID, "hallucination_pair", for general:
                                        631, 301, 318

The overall accuracy does not hang on it. What their scripts take for a verdict where there is none
in its place (the last 1 or 2 of the text, else 2; "Image 1 is better" anywhere in the reasoning) is
in no mode: it finds an answer where a judge gave none.
"""

import random

import numpy as np
from absl import logging

from cot_rm.benchmarks import definitions, pairs, published, rules
from cot_rm.schema import Example

SIZE = 1250
FILES = (  # of the folder, the first that is there
  "data/test-*.parquet",  # the hub's: id, query, response, human_ranking, image (its bytes)
  "data/data.jsonl",  # the code repository's: the same, and image_path
  "data.jsonl",  # as the first, or as R1-Reward's: id, prompt, chosen, rejected, image (its path)
)
REASONING = ("mathverse", "mmmu")


def official(name):
  """The owners' group of an id."""
  if name.startswith(REASONING):
    return "reasoning"
  hallucination = name.startswith(("hallucination_pair", "RLHF-V", "RLAIF-V"))
  return "hallucination" if hallucination else "general"


def r1_reward(name):
  """R1-Reward's group of an id: lower case is looked for, so RLHF-V and RLAIF-V are general."""
  if any(word in name for word in REASONING):
    return "reasoning"
  hallucination = any(word in name for word in ("hallucination", "rlhf", "rlaif"))
  return "hallucination" if hallucination else "general"


def unified_reward(name):
  """UnifiedReward's group of an id, by what stands before its first "_" or "-"."""
  prefix = name.replace("_", "-").partition("-")[0]
  if prefix in REASONING:
    return "reasoning"
  return "hallucination" if prefix in ("RLHF", "RLAIF") else "general"


def coin(examples):
  """One order each, drawn as UnifiedReward's evaluation draws it: seed 0, one number a row.

  The published order stands, or is exchanged where the number is below a half. In the published
  order the better response is the first in all rows but a few (`extra["better"]`).
  """
  draw = random.Random(0).random
  return [(int((draw() < 0.5) != (e.extra.get("better", 1) == 2)),) for e in examples]


def _rule(group, orders, said):
  return rules.Rule(
    orders=orders,
    family=lambda example: group(example.extra["id"]),
    cluster=lambda example: example.extra["id"],  # 25 ids stand twice, with other responses
    said=said,
  )


MODES = {
  "both": _rule(official, rules.both, "mean of both orders; the owners' groups"),
  "first": _rule(official, rules.first, "the better response always first; the owners' groups"),
  "r1_reward": _rule(
    r1_reward, rules.first, "the better response always first; R1-Reward's groups"
  ),
  "unified_reward": _rule(unified_reward, coin, "one order, by seed 0; UnifiedReward's groups"),
}


def examples(root):
  """The pairs in the order of their rows, the better response first; see FILES.

  Ids repeat, so an Example's is "<row>:<id>"; `extra` has `id` and `row`, and `better`, where the
  file says which of its two responses people preferred.

  Raises:
    FileNotFoundError: no such file, or a picture that is not there, by row.
    ValueError: a record that cannot be read, by row and field.
  """
  out = []
  for path in published.find(root, FILES, "VL-RewardBench"):
    for where, record in published.records(path):
      out.append(_example(len(out), record, path.parent, where))
  if len(out) != SIZE:
    logging.warning("VL-RewardBench: %d pairs of its %d are here", len(out), SIZE)
  return out


def _example(row, record, folder, where):
  id_ = published.text(record, "id", where)
  extra = {"id": id_, "row": row}
  if "chosen" in record:
    question = published.text(record, "prompt", where)
    responses = (
      published.text(record, "chosen", where),
      published.text(record, "rejected", where),
    )
  else:
    # The mark of the picture's place is for other chat templates; ours puts the picture first.
    question = published.text(record, "query", where).replace("<image>\n", "")
    given, ranking = record.get("response"), record.get("human_ranking")
    if ranking not in ([0, 1], [1, 0]) or not isinstance(given, list) or len(given) != 2:
      raise ValueError(
        f"{where}: two responses and a human_ranking of [0, 1] or [1, 0] are due, not {ranking!r}"
      )
    extra["better"] = 1 + ranking.index(0)
    responses = tuple(given if extra["better"] == 1 else given[::-1])
  image = record.get("image", record.get("image_path"))
  return Example(
    id=f"{row}:{id_}",
    source="vl_rewardbench",
    task="image_understanding",
    question=question,
    media=(published.picture(image, (folder,), where),),
    responses=responses,
    gold=1,
    extra=extra,
  )


def score(judgements, swapped, *, mode="both", fidelity=None, contradicts=None):
  """`pairs.tally` by group, and what the benchmark's table has beside it.

  Args:
    judgements: of the examples with the better response first; None where not asked.
    swapped: with the better one second.
    mode: of MODES: "both" orders and the owners' groups; "first", the same with the better response
      always first; "r1_reward" and "unified_reward", as these two evaluate.
    fidelity, contradicts: see `pairs.tally`.

  Returns:
    What `pairs.tally` does, accuracy being the table's "overall", and
      accuracy_macro: mean of the groups' accuracies.
  """
  rule = rules.get(MODES, mode)
  out = pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
  out["accuracy_macro"] = round(float(np.mean(list(out["families"].values()))), 6)
  out["definitions"] |= definitions.of({"accuracy_macro": len(out["families"])}, rule.said)
  return out
