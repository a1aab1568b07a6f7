"""MM-RLHF-RewardBench (Zhang et al., arXiv:2502.10391): 170 pairs of answers to 46 questions.

145 pairs are about a picture, 25 about a video. Acc is over pairs; Acc+ is over questions, which
count as right only if all their pairs are right.
"""

import collections
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from cot_rm import media, registry
from cot_rm.benchmarks import answers, definitions, pairs, published, readings, rules
from cot_rm.schema import BadRecord, Example, Media, Task

SIZE, QUESTIONS = 170, 46
FILES = ("mm_reward_bench.jsonl",)  # id, image or video (its path), prompt, chosen, rejected
CATEGORIES = ("mcq", "long", "short", "safety", "video")  # the first one in the path
FRAMES = 32


def category(path: str, where: str = "") -> str:
  """The category in the path of a pair's picture or video.

  Raises BadRecord, which begins with `where`, if there is none.
  """
  for name in CATEGORIES:
    if name in path:
      return name
  place = f"{where}: " if where else ""
  raise BadRecord(f"{place}{path!r} is of none of the categories {', '.join(CATEGORIES)}")


def _rule(
  orders: Callable, description: str, reading: readings.Reading = readings.grammar
) -> rules.Rule:
  return rules.Rule(
    orders=orders,
    reading=reading,
    family=lambda example: category(str(example.extra["path"])),
    cluster=lambda example: str(example.extra["id"]),
    question=lambda example: str(example.extra["id"]),
    description=description,
  )


MODES: dict[str, rules.Rule] = {
  "both": _rule(rules.both, "mean of both orders"),
  "first": _rule(rules.first, "the better response always first"),
  "r1_reward": _rule(
    rules.first,
    "the better response always first; without <answer> the last 1 or 2 of the first line that has "
    "one, and whatever is no 1 counts as a 2",
    readings.r1_reward_first_line,
  ),
}


def examples(root: str | pathlib.Path) -> Sequence[Example]:
  """The pairs in the order of their rows, the better response first.

  Reads FILES in the folder `root`. A path "mcq/1.png" is searched there, then in images/, as on the
  owners' hub page; "video/name" also as images/name. A video is a folder of frames; FRAMES of them
  are read, evenly over their sorted names. Ids repeat, so an Example's id is "<row>:<id>"; `extra`
  has `id`, `row` and `path`.

  A pair whose record is invalid, whose picture or video is missing, or whose video has no frames
  raises BadExample where it is read, by row and field.

  Raises:
    FileNotFoundError: no such file.
  """
  out = published.read_pairs(published.find_files(root, FILES, "MM-RLHF-RewardBench"), _example)
  if len(out) != SIZE:
    logging.warning("MM-RLHF-RewardBench: found %d of its %d pairs", len(out), SIZE)
  return out


def _example(row: int, record: published.Record, path: pathlib.Path, where: str) -> Example:
  folder = path.parent
  kind = "video" if record.get("video") else "image"
  task: Task = "video_understanding" if kind == "video" else "image_understanding"
  name = published.text_field(record, kind, where)
  folders, where_shown = (folder, folder / "images"), f"{where}, field {kind!r}"
  if kind == "video":
    found = published.first_existing(
      [*(f / name for f in folders), folder / "images" / name.removeprefix("video/")], where_shown
    )
    shown = Media("video", frames(found, where_shown))
  else:
    shown = published.picture(name, folders, where_shown)
  id_ = published.text_field(record, "id", where)
  category(name, where_shown)
  return Example(
    id=f"{row}:{id_}",
    source="mm_rlhf_rewardbench",
    task=task,
    question=published.text_field(record, "prompt", where),
    media=(shown,),
    responses=(
      published.text_field(record, "chosen", where),
      published.text_field(record, "rejected", where),
    ),
    gold=1,
    extra={"id": id_, "row": row, "path": name},
  )


def frames(folder: pathlib.Path, where: str) -> tuple[str, ...]:
  """FRAMES paths, spread evenly over the sorted pictures of a folder; repeated if it has fewer.

  R1-Reward's evaluation takes the names in the file system's order, which is undefined; its README
  sorts them.
  """
  files = media.frame_files(folder, name=where)
  return tuple(str(files[i]) for i in np.linspace(0, len(files) - 1, FRAMES, dtype=int))


def score(
  judgements: pairs.Judgements,
  swapped: pairs.Judgements,
  *,
  mode: str = "both",
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """`pairs.tally` by category, with Acc+.

  Args:
    judgements: of the examples with the better response first; None where not asked.
    swapped: of the same with the better response second.
    mode: in MODES: "both" orders, or always the better response "first", as "r1_reward" does.
    fidelity, contradicts: see `pairs.tally`.

  Returns:
    The figures of `pairs.tally`, accuracy being Acc and accuracy_plus Acc+, and
    families_plus: {category: Acc+}.
  """
  rule = registry.lookup(MODES, mode, "mode")
  out = pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
  table = answers.tabulate(judgements, swapped, rule)
  labels = [(category(str(e.extra["path"])), str(e.extra["id"])) for e in table.examples]
  joint = table.joint_accuracy(labels)
  of_category: dict[str, list[float]] = collections.defaultdict(list)
  for name, question in dict.fromkeys(labels):
    of_category[name].append(joint[name, question])
  out["families_plus"] = {
    name: round(float(np.mean(of_category[name])), 6) for name in out["families"]
  }
  counts = {f"families_plus/{name}": len(of_category[name]) for name in sorted(of_category)}
  out["definitions"] |= definitions.describe(counts, rule.description)
  return out
