"""MM-RLHF-RewardBench (Zhang et al., arXiv:2502.10391): 170 pairs of answers to 46 questions.

145 pairs are about a picture, 25 about a video. Acc is over pairs; Acc+ is over questions, and
counts one only if all its pairs are right.
"""

import collections

import numpy as np
from absl import logging

from cot_rm import media
from cot_rm.benchmarks import definitions, pairs, published, rules
from cot_rm.schema import Example, Media

SIZE, QUESTIONS = 170, 46
FILES = ("mm_reward_bench.jsonl",)  # id, image or video (its path), prompt, chosen, rejected
CATEGORIES = ("mcq", "long", "short", "safety", "video")  # the first that is in the path
FRAMES = 32


def category(path):
  """The category of a path. Raises ValueError where it has none."""
  for name in CATEGORIES:
    if name in path:
      return name
  raise ValueError(f"{path!r} is of none of the categories {', '.join(CATEGORIES)}")


def _rule(orders, said):
  return rules.Rule(
    orders=orders,
    family=lambda example: category(example.extra["path"]),
    cluster=lambda example: example.extra["id"],
    whole=lambda example: example.extra["id"],
    said=said,
  )


MODES = {
  "both": _rule(rules.both, "mean of both orders"),
  "first": _rule(rules.first, "the better response always first"),
  "r1_reward": _rule(rules.first, "the better response always first, as R1-Reward evaluates"),
}


def examples(root):
  """The pairs in the order of their rows, the better response first.

  Reads FILES in the folder `root`. A path "mcq/1.png" is looked for there, then in images/, as the
  owners' hub page has it; "video/name" also as images/name. A video is a folder of frames, of which
  FRAMES are taken, evenly over their sorted names. Ids repeat, so an Example's is "<row>:<id>";
  `extra` has `id`, `row` and `path`.

  Raises:
    FileNotFoundError: no such file, or a picture or video that is not there, by row.
    ValueError: a record that cannot be read, by row and field; a video without frames.
  """
  out = []
  for path in published.find(root, FILES, "MM-RLHF-RewardBench"):
    for where, record in published.records(path):
      out.append(_example(len(out), record, path.parent, where))
  if len(out) != SIZE:
    logging.warning("MM-RLHF-RewardBench: %d pairs of its %d are here", len(out), SIZE)
  return out


def _example(row, record, folder, where):
  kind = "video" if record.get("video") else "image"
  name = published.text(record, kind, where)
  folders = (folder, folder / "images")
  if kind == "video":
    found = published.there(
      [*(f / name for f in folders), folder / "images" / name.removeprefix("video/")], where
    )
    shown = Media("video", frames(found, where))
  else:
    shown = published.picture(name, folders, where)
  id_ = published.text(record, "id", where)
  category(name)
  return Example(
    id=f"{row}:{id_}",
    source="mm_rlhf_rewardbench",
    task=f"{kind}_understanding",
    question=published.text(record, "prompt", where),
    media=(shown,),
    responses=(
      published.text(record, "chosen", where),
      published.text(record, "rejected", where),
    ),
    gold=1,
    extra={"id": id_, "row": row, "path": name},
  )


def frames(folder, where):
  """FRAMES paths of a folder's pictures, evenly over their sorted names; fewer pictures repeat.

  R1-Reward's evaluation takes the names as the file system lists them, in no order; its README
  sorts them.
  """
  files = sorted(p for p in folder.iterdir() if p.suffix.lower() in media.PICTURE_SUFFIXES)
  if not files:
    raise ValueError(f"{where}: {str(folder)!r} holds no frames")
  return tuple(str(files[i]) for i in np.linspace(0, len(files) - 1, FRAMES, dtype=int))


def score(judgements, swapped, *, mode="both", fidelity=None, contradicts=None):
  """`pairs.tally` by category, with Acc+.

  Args:
    judgements: of the examples with the better response first; None where not asked.
    swapped: with the better one second.
    mode: of MODES: "both" orders, or always the better response "first", as "r1_reward" does.
    fidelity, contradicts: see `pairs.tally`.

  Returns:
    What `pairs.tally` does, accuracy being Acc and accuracy_plus Acc+, and
      families_plus: {category: Acc+}.
  """
  rule = rules.get(MODES, mode)
  out = pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
  places, both, rows = rules.asked(judgements, swapped)
  right = [j.verdicts[0].answer == j.example.gold for j in both]
  sets = rules.whole(right, places, [(rule.family(e), rule.whole(e)) for e in rows])
  out["families_plus"] = {
    name: round(float(np.mean([v for (of, _), v in sets.items() if of == name])), 6)
    for name in out["families"]
  }
  sets_of = collections.Counter(f"families_plus/{of}" for of, _ in sets)
  out["definitions"] |= definitions.of(dict(sorted(sets_of.items())), rule.said)
  return out
