"""Stands for a model: verdicts by a rule."""

import types

import numpy as np

from cot_rm import judge
from cot_rm.schema import Completion, Verdict


def install(monkeypatch, choose, text):
  """Every judge that is loaded answers `text`, and names the candidate `choose(example)`."""

  def judge_usable(examples, *, n, progress, **_):
    progress(len(examples))
    done = Completion(text, np.zeros(3, np.int32), np.zeros(3), "stop")
    return [
      judge.Judgement(e, None, (done,) * n, (Verdict(choose(e), probability=0.9),) * n)
      for e in examples
    ]

  monkeypatch.setattr(
    judge, "load", lambda *_, **__: types.SimpleNamespace(judge_usable=judge_usable)
  )
