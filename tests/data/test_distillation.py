"""Sampled pairs and their order, distilled examples, and statistics of the teacher's replies."""

import collections

import pytest

from cot_rm import chat, schema
from cot_rm.data import distillation

RIGHT, WRONG, NONE = "right", "wrong", "none"


def pair(*said, gold=1, task="image_generation", source="s"):
  """A Pair to which the teacher said these things: RIGHT, WRONG, NONE, or an error."""
  one = distillation.Pair(0, f"{source}-{said}", f"{source} {task}", task, gold)
  for text in said:
    verdict = {RIGHT: gold, WRONG: 3 - gold}.get(text)
    error = text if ":" in text else None
    reply = chat.Reply(None if error else f" {text}\n", error, 10, 3, cached=text == WRONG)
    one.replies.append(reply)
    if reply.final:
      one.verdicts.append(verdict)
  return one


def example(i, gold=1, task="image_understanding"):
  media = tuple(schema.Media(task.split("_")[0], f"{i}{side}.png") for side in "ab")
  texts = () if task.endswith("generation") else (f"good {i}", f"bad {i}")
  return schema.Example(
    f"e{i}", "s", task, "q", media, texts, gold, reasoning="old", extra={"k": i}
  )


def sample(source, count=0, tasks=(), seed=0):
  return distillation.sample_pairs(source, count=count, tasks=tasks, seed=seed)


def test_half_of_the_golds_are_1_and_the_better_candidate_stays_the_better_one():
  for golds in ([1] * 40, [2] * 40, [1, 2] * 20, [1] * 41):
    source = [example(i, gold) for i, gold in enumerate(golds)]
    pairs = sample(source)
    counts = collections.Counter(one.gold for one in pairs)
    assert abs(counts[1] - counts[2]) <= 1
    for one in pairs:
      before, now = source[one.index], distillation.shown_example(source, one)
      assert now.gold == one.gold and now.reasoning is None
      assert now.responses[one.gold - 1] == before.responses[before.gold - 1]
      assert now.extra.get("swapped", False) == one.swapped == (before.gold != one.gold)


def test_pairs_are_sampled_at_random_by_the_seed():
  source = [example(i) for i in range(50)]
  ids = lambda **how: [(one.id, one.swapped) for one in sample(source, **how)]
  assert ids(count=20) == ids(count=20) != ids(count=20, seed=1)
  assert len(ids(count=20)) == 20 and len(ids()) == len({name for name, _ in ids()}) == 50
  assert [name for name, _ in ids(count=20)] != [f"e{i}" for i in range(20)]


def test_only_the_given_tasks_are_sampled():
  source = [example(i, task=schema.TASKS[i % 4]) for i in range(40)]
  assert {one.task for one in sample(source, tasks=["image_generation"])} == {"image_generation"}
  assert len(sample(source, count=8, tasks=["image_generation"])) == 8
  with pytest.raises(ValueError, match="none of 2 examples is a pair with a task of video"):
    sample(source[:2], tasks=["video"])


def test_a_pair_without_a_label_is_named():
  with pytest.raises(ValueError, match="example 'e1' has no gold answer"):
    sample([example(0), example(1, gold=None)])


def test_a_pair_is_correct_unanswered_failed_or_still_open():
  states = {
    (RIGHT,): "correct",
    (WRONG, NONE, RIGHT): "correct",
    (WRONG,): "failed",
    ("refused: no", WRONG): "failed",
    ("timeout: 3 s",): "unanswered",
    (WRONG, "server: 500"): "unanswered",
    (): "open",
  }
  for said, state in states.items():
    one = pair(*said)
    found = {"correct": one.correct, "failed": one.failed, "unanswered": one.unanswered}
    assert [name for name, holds in found.items() if holds] == ([state] if state != "open" else [])


def test_the_reasoning_is_kept_only_if_correct_and_the_attempts_are_recorded():
  source = [example(0)]
  kept = distillation.distilled_example(source, pair(WRONG, RIGHT), max_attempts=3, model="m")
  assert kept.reasoning == "right" and kept.attempts == 2 and kept.gold == 1
  assert kept.extra == {
    "k": 0,
    "teacher": {
      "model": "m",
      "attempt": 2,
      "limit": 3,
      "verdicts": [2, 1],
      "swapped": False,
      "tokens": [10, 3],
    },
  }
  failed = distillation.distilled_example(
    source, pair(WRONG, NONE, "refused: no"), max_attempts=3, model="m"
  )
  assert failed.reasoning is None and failed.attempts == 4
  assert failed.extra["teacher"]["attempt"] is None
  assert failed.extra["teacher"]["verdicts"] == [2, None, None]


def test_the_statistics_are_those_counted_by_hand():
  pairs = [
    pair(RIGHT),
    pair(RIGHT),
    pair(WRONG, RIGHT),
    pair(NONE, "refused: no", RIGHT),
    pair("cut: 5 tokens", WRONG, WRONG, source="t"),
    pair("timeout: 3 s", source="t"),
  ]
  assert distillation.count_outcomes(pairs) == {
    "verdict": 7,
    "unparsable": 1,
    "refused": 1,
    "cut": 1,
    "timeout": 1,
  }
  by_s = {
    "pairs": 4,
    "agreement@1": 0.5,
    "1": 2,
    "2": 1,
    "3": 1,
    "failed": 0,
  }
  by_t = {
    "pairs": 2,
    "agreement@1": 0.0,
    "1": 0,
    "2": 0,
    "3": 0,
    "failed": 1,
  }
  both = {
    "pairs": 6,
    "agreement@1": 0.4,
    "1": 2,
    "2": 1,
    "3": 1,
    "failed": 1,
  }
  assert distillation.statistics(pairs, max_attempts=3) == {
    "pairs": 6,
    "agreement@1": 0.4,  # 2 of the 5 that were answered
    "kept": 4,
    "failed": 1,
    "unanswered": 1,
    "unparsable": 1,
    "refused": 1,
    "empty": 0,
    "cut": 1,
    "calls": 11,
    "calls_cached": 3,
    "prompt_tokens": 110,
    "completion_tokens": 33,
    "by_source": {"s image_generation": by_s, "t image_generation": by_t, "all": both},
  }
