"""What judges without any skill score on the benchmarks, by every way in which verdicts are read.

  python bench/modes.py [--quick]

Invented pairs of the size and the groups of each benchmark, and judges that look at none of them:
one always names the first candidate, one throws a coin, one says nothing, one names both. What a
mode gives them is what it gives to every judge on top of its skill.
"""

import collections
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import isolated
import numpy as np

from cot_rm import benchmarks
from cot_rm.benchmarks import baselines
from cot_rm.prompts import r1_reward, think
from cot_rm.schema import Completion, Example, Task, Verdict

VL_REWARDBENCH = {  # {beginning of an id: number of ids}
  "hallucination_pair-": 448,
  "RLHF-V-": 68,
  "RLAIF-V-": 233,
  "wildvision-battle-": 173,
  "jailbreak-": 7,
  "politics-": 3,
  "mathverse_": 200,
  "mmmu_": 118,
}
MM_RLHF = {"mcq": 42, "long": 37, "short": 34, "safety": 32, "video": 25}
MULTIMODAL = {  # {(category, beginning of an id): number of ids}
  ("correctness", ""): 623,
  ("preference", ""): 654,
  ("knowledge", ""): 630,
  ("reasoning", "math"): 514,
  ("reasoning", "code"): 584,
  ("safety", "pairs"): 508,
  ("vqa", ""): 1198,
}
VIDEOS = {True: 1270, False: 619}  # {whether people prefer one: pairs}, of data.json


class Judge(NamedTuple):
  """A judge without skill: `text` of the answer to a pair in one order."""

  name: str
  text: Callable[[Example], str]


def examples(benchmark: str, parts: int) -> list[Example]:
  """Invented pairs of a benchmark, one of `parts` of them; the stored order is drawn."""
  rng = np.random.default_rng(0)
  makers: dict[str, Callable[[], Iterator[Example]]] = {
    "vl_rewardbench": _vl_rewardbench,
    "mm_rlhf_rewardbench": _mm_rlhf,
    "multimodal_rewardbench": lambda: _multimodal(rng),
    "genai_bench": lambda: _videos(rng),
  }
  return [*makers[benchmark]()][::parts]


def _pair(
  name: str, gold: int, number: int, task: Task = "image_understanding", **extra
) -> Example:
  texts = "a" * (number % 7 + 1), "b" * (number % 5 + 1)
  return Example(name, "invented", task, "question", (), texts, gold, extra=extra)


def _vl_rewardbench() -> Iterator[Example]:
  names = [f"{start}{i}" for start, count in VL_REWARDBENCH.items() for i in range(count)]
  for row, name in enumerate(names):
    yield _pair(f"{row}:{name}", 1, row, id=name, row=row)


def _mm_rlhf() -> Iterator[Example]:
  row = 0
  for category, count in MM_RLHF.items():
    for i in range(count):
      task: Task = "video_understanding" if category == "video" else "image_understanding"
      yield _pair(f"{row}", 1, row, task, id=f"{category} {i // 4}", path=f"{category}/{i}")
      row += 1


def _multimodal(rng: np.random.Generator) -> Iterator[Example]:
  row = 0
  for (category, start), count in MULTIMODAL.items():
    for i in range(count):
      gold = int(rng.integers(2)) + 1
      yield _pair(f"{start or category}-{i}", gold, row, Category=category)
      row += 1


def _videos(rng: np.random.Generator) -> Iterator[Example]:
  for decided, count in VIDEOS.items():
    for i in range(count):
      made = Example(f"{decided} {i}", "invented", "video_generation", f"prompt {decided} {i}")
      extra = {} if decided else {"tie": True}
      gold = int(rng.integers(2)) + 1 if decided else None
      yield dataclasses.replace(made, gold=gold, extra=extra)


def judges(grammar) -> list[Judge]:
  """The judges, which write in a grammar (a module of cot_rm.prompts)."""
  says = lambda e, choice: f"<think></think><answer>{grammar.solution(e.task, choice)}</answer>"
  both = lambda e: f"{think.solution(e.task, 1)}. {think.solution(e.task, 2)}."
  return [
    Judge("always the first", lambda e: says(e, 1)),
    Judge("a coin", lambda e: says(e, baselines.coin(e))),
    Judge("silence", lambda e: ""),
    Judge("both are better", both),
  ]


def figures(benchmark: str, mode: str, pairs: Sequence[Example], judge: Judge, grammar) -> dict:
  """The figures of a judge by a mode."""
  module = benchmarks.get(benchmark)
  sides: tuple[list, list] = ([None] * len(pairs), [None] * len(pairs))
  empty = np.zeros(0, np.int32)
  for row, (pair, orders) in enumerate(zip(pairs, module.MODES[mode].asked(pairs), strict=True)):
    for order in orders:
      shown = pair.swapped() if order else pair
      text = judge.text(shown)
      verdict = grammar.parse(text, shown.task) if text else Verdict(None)
      done = Completion(text, empty, empty, "stop")
      sides[order][row] = baselines.Said(shown, (verdict,), (done,))
  kept = [i for i, two in enumerate(zip(*sides, strict=True)) if any(two)]
  return module.score(*([side[i] for i in kept] for side in sides), mode=mode)


def main() -> None:
  args = isolated.parser(__doc__, "a tenth of the pairs").parse_args()
  say = lambda line: sys.stdout.write(line + "\n")
  out: dict[str, dict[str, dict[str, float]]] = collections.defaultdict(dict)
  for benchmark in (
    "vl_rewardbench",
    "mm_rlhf_rewardbench",
    "multimodal_rewardbench",
    "genai_bench",
  ):
    pairs = examples(benchmark, 10 if args.quick else 1)
    grammar = think if benchmark == "genai_bench" else r1_reward
    found = judges(grammar)
    say(f"\n{benchmark}, {len(pairs):,} pairs: accuracy in percent")
    say(f"{'mode':<22}" + "".join(f"{judge.name:>18}" for judge in found))
    for mode in benchmarks.get(benchmark).MODES:
      scores = {
        judge.name: figures(benchmark, mode, pairs, judge, grammar)["accuracy"] for judge in found
      }
      say(f"{mode:<22}" + "".join(f"{100 * score:>18.1f}" for score in scores.values()))
      out[benchmark][mode] = {name: round(100 * score, 1) for name, score in scores.items()}
  say(json.dumps(out))


if __name__ == "__main__":
  main()
