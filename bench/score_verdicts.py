"""How fast stored verdicts are scored: from the answer log to every figure and the report.

  python bench/score_verdicts.py [--quick]

5,000 pairs of texts of up to 1,200 characters about a picture, in both orders: 10,000 verdicts
with reasonings of about 2,500 characters and a sheet of scores, a tenth of them unparsable. Beside
them the votes of 300 of the pairs: 15 samples in both orders, 9,000 in all. `read`: the pairs from
their JSON lines and the log, each record held against the hash of its question and picture.
`score`: all figures of pairs. `calibration`, `votes`, `compare` (two models, by the paired
bootstrap), `report`: the page. --quick: a tenth of the pairs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import isolated
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cot_rm import prompts, report, voting  # noqa: E402
from cot_rm.benchmarks import calibration, comparison, pairs, rules  # noqa: E402
from cot_rm.benchmarks import voting as votes  # noqa: E402
from cot_rm.data import answer_log, identity, jsonl  # noqa: E402
from cot_rm.data.answer_log import LoggedJudgement, Record  # noqa: E402
from cot_rm.rewards import consistency  # noqa: E402
from cot_rm.schema import Example, Media  # noqa: E402

GRAMMAR = "think"
PAIRS, VOTED, SAMPLES = 5000, 300, 15
RIGHT, UNPARSABLE = 0.72, 0.1
WORDS = "the cat sits on a red chair beside two tall lamps and looks at the window".split()
Sides = tuple[list[LoggedJudgement | None], list[LoggedJudgement | None]]


def make_pairs(folder: Path, count: int) -> Path:
  """A file of pairs with pictures, in JSON lines."""
  rng = np.random.default_rng(0)
  picture = io.BytesIO()
  Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(picture, "PNG")
  (folder / "picture.png").write_bytes(picture.getvalue())
  medium = Media("image", str(folder / "picture.png"))
  examples = [
    Example(
      id=f"pair-{row}",
      source="bench",
      task="image_understanding",
      question=f"What is in picture {row}?",
      media=(medium,),
      responses=(_text(rng, rng.integers(10, 1200)), _text(rng, rng.integers(10, 1200))),
      gold=1 + row % 2,
    )
    for row in range(count)
  ]
  jsonl.write(folder / "pairs.jsonl", examples)
  return folder / "pairs.jsonl"


def make_log(path: Path, examples: Sequence[Example], samples: int, seed: int) -> None:
  """A log of answers to the examples in both orders."""
  rng, records = np.random.default_rng(seed), list[Record]()
  for row, example in enumerate(examples):
    mark = identity.question_hash(example)
    for order in (0, 1):
      for sample in range(samples):
        of = {"row": row, "order": order, "sample": sample, "id": example.id, "hash": mark}
        gold = 3 - example.gold if order else example.gold
        records.append(of | _answer(rng, gold))
  answer_log.write(path, records)


def _answer(rng: np.random.Generator, gold: int) -> Record:
  choice = gold if rng.random() < RIGHT else 3 - gold
  parsed = rng.random() > UNPARSABLE
  scores = (8, 6) if choice == 1 else (5, 7)
  sheet = f"Accuracy: Answer 1 ({scores[0]}/10) - seen; Answer 2 ({scores[1]}/10) - seen"
  end = f"<answer>Answer {choice} is better</answer>" if parsed else "I cannot say"
  return {
    "text": f"<think>\n{_text(rng, 2500)}\n{sheet}\n</think>\n{end}",
    "answer": choice if parsed else None,
    "probability": float(rng.uniform(0.5, 1)) if parsed else None,
    "label_mass": float(rng.uniform(0.9, 1)) if parsed else None,
    "label_top": True if parsed else None,
    "why_unparsable": None if parsed else "no verdict",
    "tokens": int(rng.integers(200, 800)),
    "finish": "stop",
  }


def _text(rng: np.random.Generator, characters: int) -> str:
  words = rng.choice(WORDS, max(int(characters) // 5, 1))
  return " ".join(words.tolist())


def read(path: Path, examples: Sequence[Example], samples: int) -> Sides:
  """The judgements of a whole log."""

  def ask(*_: object) -> Sequence[LoggedJudgement]:
    raise AssertionError("the log has every answer")

  bar = lambda total, done: contextlib.nullcontext()
  return answer_log.complete(
    path, examples, [(0, 1)] * len(examples), ask, n=samples, step=64, bar=bar
  )


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
  """Writes the duration of the block into `seconds`."""
  began = time.monotonic()
  yield
  seconds[name] = time.monotonic() - began


def measure(folder: Path, count: int, voted: int) -> dict[str, float]:
  """{step: seconds} of scoring `count` pairs, of which `voted` have votes."""
  path = make_pairs(folder, count)
  examples = [*jsonl.read(path)]
  make_log(folder / "judgements.jsonl", examples, 1, seed=1)
  make_log(folder / "other.jsonl", examples, 1, seed=2)
  make_log(folder / "votes.jsonl", examples[:voted], SAMPLES, seed=3)
  other = read(folder / "other.jsonl", examples, 1)
  seconds: dict[str, float] = {}
  with timed(seconds, "read"):
    examples = [*jsonl.read(path)]
    sides = read(folder / "judgements.jsonl", examples, 1)
    votes_of = read(folder / "votes.jsonl", examples[:voted], SAMPLES)
  rule, grammar = rules.Rule(), prompts.get(GRAMMAR)
  with timed(seconds, "score"):
    contradicts = functools.partial(consistency.contradicts, grammar=grammar)
    figures = dict(pairs.score(*sides, contradicts=contradicts))
  with timed(seconds, "calibration"):
    forecasts = {
      "pairs": calibration.of_pairs(*sides, rule, voting.combine),
      "verdicts": calibration.of_verdicts(*sides, rule),
      "voted_pairs": calibration.of_pairs(*votes_of, rule, voting.combine),
    }
    figures["calibration"] = calibration.figures(forecasts, rule.description)[0]
  with timed(seconds, "votes"):
    found = dict(votes.score(*votes_of, rule, at=(1, 3, 5, 7, 15)))
    figures["voting"] = found | {"temperature": 1.0}
  with timed(seconds, "compare"):
    comparison.compare(sides, other, rule)
  with timed(seconds, "report"):
    report.write(folder, {"model": figures})
  return seconds


def main() -> None:
  args = isolated.parser(__doc__, "a tenth of the pairs").parse_args()
  count, voted = (PAIRS // 10, VOTED // 10) if args.quick else (PAIRS, VOTED)
  with tempfile.TemporaryDirectory() as folder:
    seconds = measure(Path(folder), count, voted)
  say = lambda line: (sys.stdout.write(line + "\n"), sys.stdout.flush())
  say(f"{2 * count:,} verdicts, and {2 * voted * SAMPLES:,} votes")
  for name, taken in seconds.items():
    say(f"{name:<12}{taken:>8.2f} s")
  whole = sum(seconds.values())
  say(f"{'all':<12}{whole:>8.2f} s")
  rounded = {name: round(taken, 3) for name, taken in seconds.items()}
  say(
    json.dumps(
      {"verdicts": 2 * count, "votes_read": 2 * voted * SAMPLES, **rounded, "all": round(whole, 3)}
    )
  )


if __name__ == "__main__":
  main()
