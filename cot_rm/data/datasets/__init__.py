"""Opens the examples at a path: our own files, and preference data in the layouts of their owners.

To add a layout: write a module that is a `pair.Adapter`, add its line to ADAPTERS.
"""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cot_rm import files, records, registry
from cot_rm.data import identity, selection
from cot_rm.data.datasets import (
  battles,
  chosen_rejected,
  conversations,
  evalmuse,
  genai_bench,
  hpd,
  imagereward,
  opening,
  ours,
  pickapic,
  prompted,
  rapidata,
  reward_benchmarks,
  rlaif_v,
  trl,
  videodpo,
  videofeedback,
  videogen_rewardbench,
  vlfeedback,
)
from cot_rm.data.datasets.pair import Adapter
from cot_rm.data.datasets.row import Options, Ranked, Ties
from cot_rm.data.datasets.source import Published
from cot_rm.schema import Example

SHOWN = 3  # repeated ids that are named
# Names that a user may write before a path. A module's first name is the one of the log.
ADAPTERS: dict[str, Adapter] = {
  "cot_rm": ours,
  "rlaif_v": rlaif_v,
  "rlhf_v": rlaif_v,
  "chosen_rejected": chosen_rejected,
  "mm_rlhf": chosen_rejected,
  "sharegptvideo_dpo": chosen_rejected,
  "unifiedreward_dpo": chosen_rejected,
  "trl": trl,
  "conversations": conversations,
  "unifiedreward_sft": conversations,
  "llava": conversations,
  "llava_critic": conversations,
  "povid": conversations,
  "llama_factory": conversations,
  "ms_swift": conversations,
  "prompted": prompted,
  "r1_reward_rl": prompted,
  "unifiedreward_grpo": prompted,
  "verl": prompted,
  "easyr1": prompted,
  "pickapic": pickapic,
  "diffusion_dpo": pickapic,
  "hpd": hpd,
  "hpdv2": hpd,
  "hpdv3": hpd,
  "genai_bench": genai_bench,
  "videogen_rewardbench": videogen_rewardbench,
  "videodpo": videodpo,
  "vlfeedback": vlfeedback,
  "imagereward": imagereward,
  "evalmuse": evalmuse,
  "rapidata": rapidata,
  "battles": battles,
  "wildvision": battles,
  "videofeedback": videofeedback,
  "reward_benchmarks": reward_benchmarks,
}


class Found(NamedTuple):
  """What was left out when a source was opened."""

  bad: Sequence[str]  # what is wrong with each bad record; begins with its place
  left_out: Mapping[str, int]  # {why a comparison is no pair, such as a tie: number}


class Repeated(NamedTuple):
  """Ids that came before in a source; their examples are called id#2, id#3, ..."""

  count: int
  first: Sequence[str]  # the first few of them


class Concatenated(records.Joined[Example, Sequence[Example]]):
  """Several sources one after the other: a sequence, and a source for grain."""

  def identity(self) -> str:
    """A hash of all sources in their order."""
    return files.digest(*(identity.source_hash(source).encode() for source in self.parts))


def open(  # pylint: disable=redefined-builtin
  spec: str | os.PathLike[str],
  split: str,
  *,
  seed: int = 0,
  ties: Ties = "drop",
  pairs: Ranked = "all",
  max_bad: int = 0,
) -> Sequence[Example]:
  """The examples at a path.

  An ArrayRecord folder of this package is read by its splits. All else is records (see
  `records.open`) in a layout of ADAPTERS, which is recognised by the fields of the first records
  and said in the log, or given by name. Opening reads the records without their media; records and
  media are read when an example is asked for.

  Args:
    spec: "path" or "name:path", the path as in `records.open`.
    split: a split of a folder, or several with a plus between ("kept+failed"), read in that order.
      Not used for a file.
    seed: draws which candidate is shown first where the data always have the better one first (the
      draw depends on the seed and the example's id alone), and the samples of a YAML list.
    ties: "drop" leaves pairs out of which none is preferred; "keep" keeps them without gold.
    pairs: of ranked candidates: "all" pairs of unequal rank, or "best_worst", the best with the
      worst.
    max_bad: records that may be left out because they are wrong (config.data.max_bad).

  Raises:
    FileNotFoundError, ValueError: there is nothing to read, or no layout is recognised; names the
      path.
    bad_examples.TooManyBad: more than `max_bad` records are wrong; names them.
  """
  for value, known, knob in ((ties, Ties, "ties"), (pairs, Ranked, "pairs")):
    if value not in known.__args__:
      hint = registry.hint(value, known.__args__)
      raise ValueError(f"unknown {knob} {value!r} (config.data.{knob}); {hint}")
  path = os.fspath(spec)
  sources: list[Sequence[Example]]
  if (pathlib.Path(path) / "features.json").exists():  # of TFDS
    sources = opening.array_record_splits(pathlib.Path(path), split)
  else:
    options = Options(ties, pairs)
    sources = [
      *opening.published(path, split, ADAPTERS, seed=seed, options=options, max_bad=max_bad)
    ]
  return Concatenated(sources) if len(sources) > 1 else sources[0]


def name_and_path(spec: str) -> tuple[str, str]:
  """(name or "", path) of "path" or "name:path"."""
  return opening.parse(spec, ADAPTERS)


def path_of(spec: str) -> str:
  """The path of "path" or "name:path"."""
  return name_and_path(spec)[1]


def repeated_ids(examples: Sequence[Example]) -> Repeated | None:
  """The ids that come more than once in a source of `open`; None: none does."""
  found = Repeated(0, ())
  for part in _parts(examples):
    if isinstance(part, Published):
      first = [*found.first, *part.repeated_ids(SHOWN - len(found.first))]
      found = Repeated(found.count + part.counts.repeated, first)
  return found if found.count else None


def what_was_found(examples: Sequence[Example]) -> Found:
  """The records that opening a source of `open` left out; nothing of a folder of examples."""
  bad: list[str] = []
  left_out: collections.Counter[str] = collections.Counter()
  for part in _parts(examples):
    if isinstance(part, Published):
      bad += part.counts.bad
      left_out += part.counts.left_out
  return Found(bad, dict(left_out))


def _parts(examples: Sequence[Example]) -> Sequence[Sequence[Example]]:
  """The sources of which a source of `open` was made, or a part of one."""
  while isinstance(examples, selection.Subset):
    examples = examples.source
  return examples.parts if isinstance(examples, Concatenated) else (examples,)
