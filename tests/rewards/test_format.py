"""The format reward."""

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.prompts import r1_reward, think
from cot_rm.rewards import format as form


@pytest.mark.parametrize(
  ("text", "r1", "unified"),
  [
    ("<think>a</think><answer>1</answer>", 1.0, 1.0),
    ("<think>a\nb</think><answer>\n1\n</answer>", 1.0, 1.0),
    (" <think>a</think><answer>1</answer>\n", 1.0, 0.0),  # R1-Reward strips, the other does not
    ("<think>a</think>\n<answer>1</answer>", 0.0, 1.0),
    ("<think>a</think><answer>1</answer> and more", 0.0, 1.0),
    ("<think>a</think><answer>1</answer><answer>2</answer>", 0.0, 1.0),
    ("<think>a<think>b</think><answer>1</answer>", 0.0, 1.0),
    ("so <think>a</think><answer>1</answer>", 0.0, 0.0),
    ("<think>a<answer>1</answer></think>", 0.0, 0.0),
    ("<think>a</think>", 0.0, 0.0),
    ("1", 0.0, 0.0),
    ("", 0.0, 0.0),
  ],
)
def test_each_grammar_has_its_published_rule(text, r1, unified):
  completion = schema.Completion(text, np.zeros(1), np.zeros(1), "stop")
  assert form.reward(completion, schema.Verdict(None), None, r1_reward) == r1
  assert form.reward(completion, schema.Verdict(None), None, think) == unified
