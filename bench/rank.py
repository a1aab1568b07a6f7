"""How often few comparisons find the best of eight candidates: ranking against a full round robin.

  python bench/rank.py [--quick] [--judge FOLDER]

Without a judge: a simulated one. The merit of 8 candidates is normal with a standard deviation of
1.5. A comparison in one order is the difference of two merits, plus or minus 0.3 for the first
place, plus logistic noise of scale 1; the probability that it reports is the logistic function of 4
times that. So single comparisons are often wrong, and most of them sure of themselves.

--judge: a model of the built-in world, e.g. runs/tiny/rl/model of configs/tiny.py. The candidates
are pictures for a caption: one that shows it, and 7 with an error, all of unseen looks. The judge
answers greedily, so it is asked for all pairs once, and the other methods read its answers there.

"best found": the share of questions in which the best candidate is ranked first; "of round robin":
that share by the one of the full round robin, which asks all 56; "same best": the share of
questions that have the best of the round robin first; "order": the mean correlation of the
strengths with the merits (without merits: of the round robin). --quick: few questions.
"""

from __future__ import annotations

import collections
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import isolated
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cot_rm import ranking  # noqa: E402
from cot_rm.ranking import Comparison, Pair, Ranking, Tournament  # noqa: E402

COUNT = 8
SPREAD, BIAS, NOISE, SURENESS = 1.5, 0.3, 1.0, 4.0
METHODS: dict[str, dict[str, Any]] = {
  "round robin": {"method": "round_robin"},
  "adaptive": {},
  "adaptive, half": {"limit": COUNT * (COUNT - 1) // 2},
  "adaptive, for the order": {"goal": "order"},
  "knockout": {"method": "knockout"},
}


class Question(NamedTuple):
  """One question with its candidates, and a judge's answers about all pairs."""

  best: int
  merits: np.ndarray | None  # f64[N]; None: there is one right candidate
  answers: dict[Pair, Comparison]  # by (lower index, higher index)


def simulated(count: int) -> list[Question]:
  """Questions with a simulated judge."""
  out = []
  for seed in range(count):
    rng = np.random.default_rng(seed)
    merits = SPREAD * rng.standard_normal(COUNT)
    answers = {}
    for i, j in itertools.combinations(range(COUNT), 2):
      lead = merits[i] - merits[j] + BIAS * np.array([1, -1]) + NOISE * rng.logistic(size=2)
      answers[i, j] = Comparison(i, j, float(np.mean(1 / (1 + np.exp(-SURENESS * lead)))))
    out.append(Question(int(merits.argmax()), merits, answers))
  return out


def captions(count: int) -> dict[str, list[Any]]:
  """{caption: its right picture and 7 wrong ones} of the built-in world's held-out pictures."""
  from cot_rm.toy_world import scenes, world

  size, right, wrong = world.World(), {}, collections.defaultdict(list)
  for index in itertools.count():
    plan = scenes.plan(size, "heldout", index, seed=0)
    if plan.task == "image_generation":
      example = world.example(size, "heldout", index, seed=0)
      right.setdefault(plan.question, example.media[plan.gold - 1])
      wrong[plan.question].append(example.media[2 - plan.gold])
    full = [caption for caption, found in wrong.items() if len(found) >= COUNT - 1]
    if len(full) >= count:
      return {caption: [right[caption], *wrong[caption][: COUNT - 1]] for caption in full}
  raise AssertionError


def judged(folder: str, count: int) -> list[Question]:
  """Questions of the built-in world, with the answers of a model."""
  import cot_rm
  from cot_rm.data import packing

  buckets = packing.Buckets(tokens=(40, 96), patches=(72,), answers=())
  judge = cot_rm.load(folder, buckets=buckets, max_prompts=64)
  asked, places = [], []
  for seed, (caption, pictures) in enumerate(captions(count).items()):
    order = np.random.default_rng(seed).permutation(COUNT)
    asked.append(cot_rm.Candidates.images(caption, [pictures[at] for at in order]))
    places.append(int(np.flatnonzero(order == 0)[0]))
  found = judge.rank(asked, method="round_robin", grammar="brief", max_tokens=64)
  return [
    Question(best, None, {c.pair: c for c in ranked.pairs})
    for best, ranked in zip(places, found, strict=True)
  ]


def played(question: Question, seed: int, how: dict[str, Any]) -> Ranking:
  """The ranking by one method, from the answers that are there."""

  def compare(asked: Sequence[tuple[int, Pair]]) -> list[Comparison]:
    return [question.answers[min(pair), max(pair)] for _, pair in asked]

  return ranking.play([Tournament(COUNT, seed=seed, **how)], compare)[0]


def measure(questions: Sequence[Question]) -> dict[str, dict[str, float]]:
  """The figures of each method, see the docstring of the bench."""
  out: dict[str, dict[str, float]] = {}
  full = [played(q, seed, METHODS["round robin"]) for seed, q in enumerate(questions)]
  for name, how in METHODS.items():
    found = [played(q, seed, how) for seed, q in enumerate(questions)]
    mean: Callable[[Any], float] = lambda values: float(np.mean([*values]))
    orders = [
      np.corrcoef(f.strengths, r.strengths if q.merits is None else q.merits)[0, 1]
      for f, r, q in zip(found, full, questions, strict=True)
    ]
    out[name] = {
      "comparisons": mean(f.comparisons for f in found),
      "best_found": mean(f.best == q.best for f, q in zip(found, questions, strict=True)),
      "same_best": mean(f.best == r.best for f, r in zip(found, full, strict=True)),
      "order": mean(orders),
      "unreadable": mean(f.unreadable / f.comparisons for f in found),
    }
  whole = out["round robin"]
  for figures in out.values():
    if whole["best_found"]:  # a judge that prefers what is wrong never finds it
      figures["of_round_robin"] = figures["best_found"] / whole["best_found"]
    figures["share_of_comparisons"] = figures["comparisons"] / whole["comparisons"]
  return out


def main() -> None:
  parser = isolated.parser(__doc__, "few questions")
  parser.add_argument("--judge", help="folder of a model of the built-in world")
  args = parser.parse_args()
  if args.judge:
    questions = judged(args.judge, 4 if args.quick else 40)
  else:
    questions = simulated(100 if args.quick else 2000)
  found = measure(questions)
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  heads = ("comparisons", "share", "best found", "of round robin", "same best", "order")
  say(f"{len(questions)} questions with {COUNT} candidates, judge: {args.judge or 'simulated'}")
  say(f"{'':<24}" + "".join(f"{head:>16}" for head in heads))
  for name, r in found.items():
    shown = [r.get(key) for key in ("best_found", "of_round_robin", "same_best", "order")]
    say(
      f"{name:<24}{r['comparisons']:>16.1f}{r['share_of_comparisons']:>16.2f}"
      + "".join(f"{'-' if value is None else f'{value:.3f}':>16}" for value in shown)
    )
  rounded = {name: {k: round(v, 4) for k, v in r.items()} for name, r in found.items()}
  say(json.dumps({"questions": len(questions), **rounded}))


if __name__ == "__main__":
  main()
