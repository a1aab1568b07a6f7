"""Pre-training targets: true descriptions in the grammar, with the verdicts of a poor judge."""

import pytest

from cot_rm.prompts import think
from cot_rm.rewards import chain
from cot_rm.toy_world import base_judgements, descriptions, language, world

EXAMPLES = list(world.examples(world.World(side=56), "train", seed=5, count=300))


@pytest.fixture(scope="module")
def base():
  return [base_judgements.with_base_judgement(example) for example in EXAMPLES]


def test_a_target_is_in_the_grammar_and_consistent(base):
  for one in base:
    assert chain.fault(think.parse(one.reasoning, one.task)) is None, one.reasoning


def test_answers_are_true_and_marks_of_looks_are_true(base):
  asked = [one for one in base if not one.generation]
  said = [descriptions.parse(one.reasoning, one.task) for one in asked]
  truths = [one.extra["scene"]["truth"] for one in asked]
  assert [one.truth for one in said] == truths
  held = {True: [], False: []}
  for example, one, truth in zip(asked, said, truths, strict=True):
    held[example.question.startswith(base_judgements.TRULY_MARKED)].append(
      all(mark == (answer == truth) for answer, mark in one.answers)
    )
  assert all(held[True]) and len(held[True]) > 30
  assert 0.3 < sum(held[False]) / len(held[False]) < 0.7


def test_described_things_are_there(base):
  for one in base:
    said = descriptions.parse(one.reasoning, one.task)
    for picture, seen in zip(one.extra["scene"]["pictures"], said.described, strict=True):
      there = {(o["colour"], o["shape"], o["how"]) for o in picture["objects"]}
      assert {tuple(thing) for thing in seen.things} == there


def test_the_mark_of_each_thing_is_true(base):
  for one in base:
    asked = [*map(language.to_thing, one.extra["scene"]["asked"])]
    for seen in descriptions.parse(one.reasoning, one.task).described:
      expected = language.describe(seen.things, asked)
      assert seen == (expected if one.generation else expected._replace(absent=()))


def test_verdicts_are_random_except_about_looks(base):
  kind = lambda one: (one.task, one.question.startswith(base_judgements.TRULY_MARKED))
  for task, checked in {kind(one) for one in EXAMPLES}:
    right = [
      think.parse(one.reasoning, one.task).answer == example.gold
      for one, example in zip(base, EXAMPLES, strict=True)
      if kind(one) == (task, checked)
    ]
    if checked:
      assert sum(right) / len(right) > 0.95, task  # a hedge may outweigh the truth
    else:
      deviation = (0.25 / len(right)) ** 0.5
      assert abs(sum(right) / len(right) - 0.5) < 4 * deviation, task


def test_a_target_is_a_function_of_the_example_and_has_no_label(base):
  repeated = [base_judgements.with_base_judgement(example) for example in EXAMPLES]
  assert repeated == base and not any(one.gold for one in base)
