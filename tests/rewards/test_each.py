"""One sample at a time."""

import types

import pytest

from cot_rm.rewards import each


def samples(*names):
  return [types.SimpleNamespace(id=name) for name in names]


def fragile(completion, verdict, example, grammar):
  if example.id.startswith("bad"):
    raise RuntimeError(f"{example.id} is out of reach")
  return 1.0


def test_a_sample_that_breaks_leaves_the_others_alone_and_says_why():
  examples = samples("a", "bad one", "b")
  found = each.values(fragile, examples, examples, examples, None)
  assert found == [1.0, "RuntimeError('bad one is out of reach')", 1.0]


def test_what_breaks_on_every_sample_is_raised():
  examples = samples("bad one", "bad two")
  with pytest.raises(RuntimeError, match="out of reach"):
    each.values(fragile, examples, examples, examples, None)


def test_no_samples_have_no_values():
  assert each.values(fragile, [], [], [], None) == []


def test_a_reward_of_one_sample_becomes_a_reward_of_the_set():
  examples = samples("a", "bad one")
  found = each.per_sample(fragile)(examples, examples, examples, None, None)
  assert found == [1.0, "RuntimeError('bad one is out of reach')"]
