"""The chain reward."""

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.prompts import brief, r1_reward, think
from cot_rm.rewards import chain

TASK = "image_generation"
WHOLE = """<think>
Image 1 shows a red star. Image 2 shows a blue one.
1. Semantic consistency: Image 1 (9/10) - right; Image 2 (5/10) - wrong colour
2. Authenticity: Image 2 (7/10) - fine; Image 1 (8/10) - fine
Total score:
Image 1: 9+8=17
Image 2: 5+7=12
</think>
<answer>Image 1 is better</answer>"""


def rewarded(text, task=TASK, grammar=think):
  completion = schema.Completion(text, np.zeros(1), np.zeros(1), "stop")
  example = schema.Example("a", "test", task, "q")
  return chain.reward(completion, grammar.parse(text, task), example, grammar)


def test_a_chain_that_holds_together_is_rewarded_under_both_prompts():
  assert rewarded(WHOLE) == 1.0
  assert rewarded(WHOLE, grammar=brief) == 1.0


@pytest.mark.parametrize(
  ("before", "after", "fault"),
  [
    ("9+8=17", "9+8=18", "18 is not the sum"),
    ("9+8=17", "8+9=17", "adds up other numbers"),  # the order of the dimensions
    ("9+8=17", "9+7+1=17", "adds up other numbers"),
    ("9+8=17", "17", "adds up other numbers"),  # the sum has to be written out
    ("9+8=17", "9+8", "totals missing"),
    ("9+8=17\n", "9+8=17\nImage 1: 9+8=17\n", "twice"),
    ("<answer>Image 1", "<answer>Image 2", "lower total"),
    ("<answer>Image 1", "<answer>Video 1", "no verdict of this grammar"),
    ("Image 2: 5+7", "Video 2: 5+7", "Video 2 where Image is due"),
    ("Image 2 (7/10)", "Answer 2 (7/10)", "Answer 2 where Image is due"),
    ("Image 2 (7/10) - fine; ", "", "not one score for each"),
    ("(9/10)", "(11/10)", "outside 1 to 10"),
    ("(9/10)", "(6/10)", "adds up other numbers"),
    ("Total score:\n", "", "totals missing"),
    ("better</answer>", "better</answer> yes", "text outside"),
  ],
)
def test_one_broken_link_costs_the_reward(before, after, fault):
  assert WHOLE.count(before) == 1
  text = WHOLE.replace(before, after)
  assert fault in chain.fault(think.parse(text, TASK))
  assert rewarded(text) == 0.0


def test_the_noun_goes_by_the_task():
  text = WHOLE.replace("Image", "Answer")
  assert rewarded(text) == 0.0
  assert rewarded(text, "image_understanding") == 1.0
  assert rewarded(text, "video_understanding") == 1.0


def test_equal_totals_allow_either_verdict():
  text = WHOLE.replace("(5/10)", "(10/10)").replace("5+7=12", "10+7=17")
  assert rewarded(text) == 1.0
  assert rewarded(text.replace("<answer>Image 1", "<answer>Image 2")) == 1.0


def test_a_right_verdict_without_a_chain_is_not_enough():
  text = "<think>It is.</think><answer>Image 1 is better</answer>"
  assert rewarded(text) == 0.0


def test_a_grammar_without_scores_is_an_error():
  with pytest.raises(ValueError, match="'chain' needs a grammar with scores.*r1_reward"):
    rewarded("<think>a</think><answer>1</answer>", grammar=r1_reward)


def test_a_verdict_without_its_scores_is_an_error_and_not_a_broken_chain():
  with pytest.raises(ValueError, match="verdict.sheet is None"):
    chain.fault(schema.Verdict(1, "stored without its sheet"))
