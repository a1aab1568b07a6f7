"""Judgements out of nothing, for scores worked out by hand."""

import pathlib

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.judge import Judgement

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


@pytest.fixture
def fixtures():
  return FIXTURES


@pytest.fixture
def says():
  """`(example, *answers, probability, finish, length) -> Judgement` with these answers."""

  def make(example, *answers, text=None, length=4, finish="stop", probability=None):
    text = f"<think>seen</think><answer>{answers[0]}</answer>" if text is None else text
    done = schema.Completion(text, np.zeros(length, np.int32), np.zeros(length), finish)
    verdicts = tuple(schema.Verdict(answer, probability=probability) for answer in answers)
    return Judgement(example, None, (done,) * len(answers), verdicts)

  return make


@pytest.fixture
def example():
  """`(gold, task, **extra) -> Example`."""

  def make(gold=1, task="image_understanding", **extra):
    return schema.Example("e", "s", task, "q", gold=gold, extra=extra)

  return make
