"""The format reward."""

import numpy as np

from cot_rm import schema
from cot_rm.prompts import r1_reward, think
from cot_rm.rewards import format as form


def test_each_grammar_has_its_own_rule():
  texts = (
    "<think>a</think><answer>1</answer>",
    "<think>a</think>\n<answer>1</answer>",
    "<think>a</think><answer>1</answer> and more",
    "1",
  )
  completions = [schema.Completion(text, np.zeros(1), np.zeros(1), "stop") for text in texts]
  assert form.reward(completions, [None] * 4, r1_reward) == [1.0, 0.0, 0.0, 0.0]
  assert form.reward(completions, [None] * 4, think) == [1.0, 1.0, 1.0, 0.0]
