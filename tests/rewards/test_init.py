"""Weighted sums of rewards."""

import math
import types

import hypothesis
import numpy as np
import pytest
from absl import logging
from hypothesis import strategies as st

from cot_rm import prompts, rewards, schema
from cot_rm.prompts import r1_reward, think


def completion(text):
  return schema.Completion(text, np.zeros(1, np.int32), np.zeros(1, np.float32), "stop")


def example(name, gold):
  return schema.Example(name, "test", "image_understanding", "q", (), ("a", "b"), gold)


def judged(groups, examples, grammar):
  """What a judge hands on: each group with its example and the verdicts of its texts."""
  parse = getattr(grammar, "parse", r1_reward.parse)
  return [
    types.SimpleNamespace(
      example=e, completions=group, verdicts=[parse(c.text, e.task) for c in group]
    )
    for group, e in zip(groups, examples, strict=True)
  ]


def score(groups, examples, grammar, weights, ask=None):
  return rewards.score(judged(groups, examples, grammar), grammar, weights, ask)


RIGHT = completion("<think>a</think><answer>1</answer>")
LOOSE = completion("<think>a</think> <answer>1</answer>")
WRONG = completion("<think>a</think><answer>2</answer>")
JUNK = completion("1")
PAPER = {"accuracy": 1.0, "consistency": 0.5, "format": 0.5}
RELEASED = {"accuracy": 1.0, "consistency_released": 0.5, "format": 0.5}


@pytest.fixture
def said(monkeypatch):
  lines = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
  return lines


def test_the_sum_is_weighted_and_shaped_by_group():
  rewards_QG, metrics, parts = score(
    [[RIGHT, LOOSE], [WRONG, JUNK]],
    [example("a", 1), example("b", 1)],
    r1_reward,
    {"accuracy": 1.0, "format": 0.5},
  )
  assert rewards_QG.dtype == np.float32
  np.testing.assert_allclose(rewards_QG, [[1.5, 1.0], [0.5, 0.0]])
  assert metrics == {
    "reward/accuracy": 0.5,
    "reward/format": 0.5,
    "reward/failed/accuracy": 0.0,
    "reward/failed/format": 0.0,
    "reward/total": 0.75,
    "reward/failed": 0.0,
  }
  np.testing.assert_array_equal(parts["accuracy"], [[1, 1], [0, 0]])
  np.testing.assert_array_equal(parts["format"], [[1, 0], [1, 0]])
  assert parts["format"].dtype == np.float32


@pytest.mark.parametrize(
  ("weights", "yes", "no", "lost"),
  [(PAPER, 2.0, 1.5, math.nan), (RELEASED, 2.0, 1.0, 1.5)],
)
def test_the_totals_of_r1_reward(weights, yes, no, lost):
  """Result x (1 + 0.5 x Consistency) + 0.5 x Format, as published and as released."""
  replies = {"yes": "1", "no": "0", "lost": "who knows", "gone": None}

  def ask(chats, attempt):
    texts = [chat[0]["content"][0]["text"] for chat in chats]
    return [reply for text in texts for key, reply in replies.items() if f" <think>{key}" in text]

  def group(between, answer):
    return [
      completion(f"<think>{key}</think>{between}<answer>{answer}</answer>") for key in replies
    ]

  groups = [group("", 1), group(" ", 1), group("", 2), group(" ", 2)]
  examples = [example(name, 1) for name in "abcd"]
  rewards_QG, metrics, parts = score(groups, examples, r1_reward, weights, ask)
  right = np.array([yes, no, lost, math.nan])
  expected = [right, right - 0.5, [0.5] * 4, [0.0] * 4]
  np.testing.assert_allclose(rewards_QG, expected)
  # How often the verdict follows is there without being named.
  assert metrics["reward/consistent"] == 0.5
  assert metrics["reward/failed/consistent"] == 8
  np.testing.assert_array_equal(parts["consistent"], [[1, 0, math.nan, math.nan]] * 4)
  assert metrics["reward/failed"] == np.isnan(expected).sum()


def test_a_product_whose_factors_have_no_weight_of_their_own_is_the_product():
  ask = lambda chats, attempt: ["1"] * len(chats)
  rewards_QG, _, parts = score(
    [[RIGHT, WRONG]], [example("a", 1)], r1_reward, {"consistency": 0.5}, ask
  )
  np.testing.assert_array_equal(rewards_QG, [[0.5, 0.0]])
  assert parts.keys() == {"consistency", "accuracy", "consistent"}


def test_a_missing_gold_is_nan_and_counted_and_out_of_the_means(said):
  rewards_QG, metrics, parts = score(
    [[RIGHT], [WRONG]],
    [example("a", 1), example("b", None)],
    r1_reward,
    {"accuracy": 1.0, "format": 0.5},
  )
  assert rewards_QG[0, 0] == 1.5 and math.isnan(rewards_QG[1, 0])
  assert metrics["reward/failed"] == 1 and metrics["reward/accuracy"] == 1.0
  assert metrics["reward/failed/accuracy"] == 1 and metrics["reward/failed/format"] == 0
  assert math.isnan(parts["accuracy"][1, 0]) and parts["format"][1, 0] == 1.0
  assert said == ["reward 'accuracy': none for 1 of 2 samples: no gold answer (1)"]


def test_a_weight_of_zero_is_logged_and_left_out_of_the_sum():
  rewards_QG, metrics, _ = score(
    [[RIGHT]], [example("a", None)], r1_reward, {"accuracy": 0.0, "format": 0.5}
  )
  assert rewards_QG[0, 0] == 0.5 and metrics["reward/failed"] == 0
  assert math.isnan(metrics["reward/accuracy"]) and metrics["reward/failed/accuracy"] == 1


def _breaking_on(bad):
  def formatted(text):
    if text in bad:
      raise RuntimeError("judge out of reach")
    return True

  return types.SimpleNamespace(formatted=formatted)


def test_a_reward_that_breaks_on_a_sample_is_nan_there_and_nowhere_else(said):
  rewards_QG, metrics, _ = score(
    [[RIGHT, JUNK]], [example("a", 1)], _breaking_on([JUNK.text]), {"format": 1.0}
  )
  assert rewards_QG[0, 0] == 1.0 and math.isnan(rewards_QG[0, 1])
  assert metrics["reward/failed"] == 1 and metrics["reward/format"] == 1.0
  assert "on example 'a'" in said[0] and "judge out of reach') (1)" in said[1]


def test_a_reward_that_breaks_on_every_sample_is_raised():
  with pytest.raises(RuntimeError, match="out of reach"):
    score(
      [[RIGHT, JUNK]], [example("a", 1)], _breaking_on([JUNK.text, RIGHT.text]), {"format": 1.0}
    )


def test_a_reward_that_gives_too_few_values_is_an_error(monkeypatch):
  monkeypatch.setitem(rewards.REWARDS, "format", lambda *_: [1.0])
  with pytest.raises(ValueError, match="'format' gave 1 values for 2 completions"):
    score([[RIGHT, JUNK]], [example("a", 1)], r1_reward, {"format": 1.0})


@pytest.mark.parametrize(
  ("weights", "message"),
  [
    ({"acuracy": 1.0}, "'acuracy'; did you mean 'accuracy'"),
    ({"consistency_relased": 1.0}, "did you mean 'consistency_released'"),
    ({}, "no reward named"),
  ],
)
def test_weights_name_known_rewards(weights, message):
  with pytest.raises(ValueError, match=message):
    score([[RIGHT]], [example("a", 1)], r1_reward, weights)


def test_ragged_groups_name_the_sample():
  with pytest.raises(ValueError, match="'b': 1 completions; the first group has 2"):
    score([[RIGHT, WRONG], [RIGHT]], [example("a", 1), example("b", 1)], think, {"format": 1.0})


def test_a_completion_without_its_verdict_names_the_sample():
  (one,) = judged([[RIGHT, WRONG]], [example("a", 1)], r1_reward)
  one.verdicts.pop()
  with pytest.raises(ValueError, match="'a': 1 verdicts for 2 completions"):
    rewards.score([one], r1_reward, {"format": 1.0})


def test_the_verdicts_that_the_judge_parsed_are_not_parsed_again(monkeypatch):
  groups, examples = [[RIGHT, LOOSE], [WRONG, JUNK]], [example("a", 1), example("a", 1).swapped()]
  for grammar in map(prompts.get, prompts.PROMPTS):
    made = judged(groups, examples, grammar)
    # The published rules read the text by their own patterns, not by the strict grammar.
    skipped = {"format", "accuracy_published"} | (set() if grammar.WRITES_SCORES else {"chain"})
    names = [name for name in RANGES if name not in skipped]
    with monkeypatch.context() as patch:
      patch.setattr(grammar, "parse", lambda *_: pytest.fail("parsed again"))
      rewards.score(made, grammar, dict.fromkeys(names, 1.0), lambda chats, _: ["1"] * len(chats))


PIECES = (
  *("<think>", "</think>", "<answer>", "</answer>", "1", "2", "10", "0", "9" * 400, ".", "\n", " "),
  *("Image 1", "Image 2", "Answer 1", "Video 2", " is better", "(9/10)", "(0/10)", " - so; "),
  *("1. Clarity:", "Total score:", "Image 1: 9+8=17", "Image 2: 5+", "=", "{response}", "\\1"),
  *("<think>\n", "</think>\n<answer>Image 1 is better</answer>", "</think><answer>1</answer>"),
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=20).map("".join)
RANGES = {name: (0.0, 1.0) for name in (*rewards.REWARDS, *rewards.PRODUCTS)}
RANGES["consistency_released"] = (-1.0, 1.0)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
  text=TEXTS,
  other=TEXTS,
  grammar=st.sampled_from(sorted(prompts.PROMPTS)),
  task=st.sampled_from(schema.TASKS),
  reply=st.none() | st.text(max_size=5),
)
def test_no_text_breaks_a_reward_or_earns_more_than_there_is(text, other, grammar, task, reply):
  words = prompts.get(grammar)
  one = schema.Example("a", "test", task, "q", gold=1)
  names = [name for name in RANGES if name != "chain" or words.WRITES_SCORES]
  _, metrics, parts = score(
    [[completion(text), completion(other)]] * 2,
    [one, one.swapped()],
    words,
    dict.fromkeys(names, 1.0),
    lambda chats, attempt: [reply] * len(chats),
  )
  for name, part_QG in parts.items():
    low, high = RANGES[name]
    known = part_QG[~np.isnan(part_QG)]
    assert ((low <= known) & (known <= high)).all(), name
    assert metrics[f"reward/failed/{name}"] == np.isnan(part_QG).sum()
  # What is right and follows is right; nothing pays for grounds without a verdict.
  assert (parts["consistency"][parts["accuracy"] == 0] == 0).all()


@pytest.mark.parametrize(
  "weights, grammar, asked",
  [
    (PAPER, r1_reward, True),
    (RELEASED, r1_reward, True),
    ({"consistent": 0.5}, r1_reward, True),
    ({"accuracy": 1.0, "consistency": 0.0}, r1_reward, False),
    ({"accuracy": 1.0, "format": 0.5}, r1_reward, False),
    (PAPER, think, False),
  ],
)
def test_a_judge_is_needed_where_consistency_weighs_and_no_scores_decide_it(
  weights, grammar, asked
):
  assert rewards.asks(weights, grammar) is asked


@pytest.mark.parametrize(
  ("weights", "needed"),
  [
    ({"accuracy": 1.0}, True),
    ({"consistency": 0.5, "format": 0.5}, True),
    ({"accuracy": 0.0, "format": 1.0}, False),
    ({"swap": 1.0, "chain": 1.0}, False),
  ],
)
def test_a_reward_that_compares_with_the_label_needs_gold(weights, needed):
  assert rewards.needs_gold(weights) is needed
