"""What the stages build on: judgements with their completions and probabilities."""

import dataclasses

import numpy as np
import pytest

import cot_rm
from cot_rm.data import packing
from cot_rm.sampler import text_stops
from cot_rm.schema import Completion, Verdict

BUCKETS = packing.Buckets(tokens=(64, 128), patches=(72, 144), answers=())


@pytest.fixture(scope="module")
def judge(tiny_folder):
  return cot_rm.load(tiny_folder, buckets=BUCKETS, max_prompts=4)


def test_the_probability_is_that_of_the_verdicts_digit(judge):
  text = "<think>\nx\n</think>\n<answer>Image 2 is better</answer>"
  tokens = np.array(judge.processor.encode(text), np.int32)
  at = text_stops.token_at(judge.processor.decode, tokens, text.index("2"))
  assert judge.processor.decode(tokens[at : at + 1]) == "2"
  label_logps = np.full((len(tokens), 2), -50.0)
  label_logps[at] = np.log([0.2, 0.6])
  done = Completion(text, tokens, None, "stop", label_logps)
  span = (text.index("2"), text.index("2") + 1)
  verdict = judge._with_probabilities(done, Verdict(2, span=span))
  assert verdict.probability == pytest.approx(0.75)
  assert judge._with_probabilities(done, Verdict(1, span=span)).probability == pytest.approx(0.25)
  assert verdict.label_mass == pytest.approx(0.8) and verdict.label_top is None
  for likeliest, is_label in ((0.6, True), (0.7, False)):
    seen = dataclasses.replace(done, top_logps=np.full(len(tokens), np.log(likeliest)))
    assert judge._with_probabilities(seen, verdict).label_top is is_label
