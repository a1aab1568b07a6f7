"""What the stages build on: judgements with their completions and probabilities."""

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
  assert judge._probability(done, Verdict(2, span=span)) == pytest.approx(0.75)
  assert judge._probability(done, Verdict(1, span=span)) == pytest.approx(0.25)
