"""The accuracy reward."""

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.prompts import direct, r1_reward, think
from cot_rm.rewards import accuracy

RIGHT = "<think>a</think><answer>Video 2 is better</answer>"


def rewarded(text, gold, task="video_generation", grammar=think, finish="stop"):
  completion = schema.Completion(text, np.zeros(1), np.zeros(1), finish)
  example = schema.Example("a", "test", task, "q", gold=gold)
  return accuracy.reward(completion, grammar.parse(text, task), example, grammar)


@pytest.mark.parametrize(
  ("text", "gold", "expected"),
  [
    (RIGHT, 2, 1.0),
    (RIGHT, 1, 0.0),
    ("<think>a</think>\n<answer> Video 2 is better\n</answer>\n", 2, 1.0),
    ("<think>a</think><answer>Video 2 is better.</answer>", 2, 0.0),
    ("<think>a</think><answer>video 2 is better</answer>", 2, 0.0),
    ("<think>a</think><answer>Image 2 is better</answer>", 2, 0.0),
    ("<think>a</think><answer></answer>", 2, 0.0),
    ("<think>a<answer>Video 2 is better</answer></think>", 2, 0.0),
    ("<answer>Video 2 is better</answer>", 2, 0.0),
    ("Video 2 is better", 2, 0.0),
    ("", 2, 0.0),
  ],
)
def test_only_the_exact_verdict_earns_the_reward(text, gold, expected):
  assert rewarded(text, gold) == expected


@pytest.mark.parametrize("answer", ("2", " 2\n"))
def test_a_bare_number_is_the_verdict_of_r1_reward(answer):
  assert rewarded(f"<think>a</think><answer>{answer}</answer>", 2, grammar=r1_reward) == 1.0


@pytest.mark.parametrize("answer", ("", "02", "20", "2.0", "2.", "The answer is 2", "1/2", "two"))
def test_no_other_number_and_no_prefix_is(answer):
  assert rewarded(f"<think>a</think><answer>{answer}</answer>", 2, grammar=r1_reward) == 0.0


SECOND_ANSWER = RIGHT + "<answer>Video 1 is better</answer>"
QUOTED = (
  "<think>It says <answer>Video 2 is better</answer>.</think><answer>Video 1 is better</answer>"
)


@pytest.mark.parametrize("text", (SECOND_ANSWER, QUOTED, RIGHT + " and so on"))
def test_the_published_rule_is_earned_by_whatever_comes_first_and_ours_is_not(text):
  completion = schema.Completion(text, np.zeros(1), np.zeros(1), "stop")
  example = schema.Example("a", "test", "video_generation", "q", gold=2)
  verdict = think.parse(text, example.task)
  assert accuracy.published(completion, verdict, example, think) == 1.0
  assert accuracy.reward(completion, verdict, example, think) == 0.0


def test_an_answer_that_was_cut_at_the_limit_earns_nothing():
  assert rewarded(RIGHT, 2, finish="length") == 0.0


def test_without_a_gold_the_reason_stands_in_place_of_the_reward():
  example = schema.Example("a", "test", "video_generation", "q")
  assert rewarded(RIGHT, None) == "no gold answer"
  assert accuracy.published(None, None, example, think) == "no gold answer"


def test_a_direct_answer_earns_it_too():
  assert rewarded("Video 2 is better.", 2, grammar=direct) == 1.0
