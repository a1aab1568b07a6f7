"""cot_rm: a multimodal chain-of-thought reward model in JAX.

    import cot_rm

    judge = cot_rm.load("runs/tiny/rl/model")  # or a Hugging Face folder, or a hub id
    pair = cot_rm.Example.images("a red star", "a.png", "b.png")
    verdict = judge.compare(pair)
    print(verdict.answer, verdict.probability, verdict.reasoning)

`help(cot_rm.Judge)` lists what a judge does. The public names load their modules when they are
first used: importing the package is quick, and starts no JAX backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # editors and type checkers see the names; at run time __getattr__ loads them
  from cot_rm.candidates import Candidates
  from cot_rm.judge import Judge, load
  from cot_rm.judge.scoring import PairScore
  from cot_rm.ranking import Ranking
  from cot_rm.schema import Completion, Example, Media, PairVerdict, Verdict

__all__ = [
  "Candidates",
  "Completion",
  "Example",
  "Judge",
  "Media",
  "PairScore",
  "PairVerdict",
  "Ranking",
  "Verdict",
  "load",
]

_MODULES = {  # of the others: cot_rm.schema
  "Candidates": "cot_rm.candidates",
  "Judge": "cot_rm.judge",
  "PairScore": "cot_rm.judge.scoring",
  "Ranking": "cot_rm.ranking",
  "load": "cot_rm.judge",
}


def __getattr__(name: str) -> object:
  if name not in __all__:
    raise AttributeError(f"module 'cot_rm' has no attribute {name!r}; it has {', '.join(__all__)}")
  return getattr(importlib.import_module(_MODULES.get(name, "cot_rm.schema")), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
