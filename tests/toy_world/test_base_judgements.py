"""The base model's texts: true to the scene, in the grammar, and those of a poor judge."""

import pytest

from cot_rm.prompts import think
from cot_rm.rewards import chain
from cot_rm.toy_world import base_judgements, language, world

EXAMPLES = list(world.examples(world.World(side=56), "train", seed=5, count=300))


@pytest.fixture(scope="module")
def unschooled():
  return [base_judgements.unschooled(example) for example in EXAMPLES]


def test_it_is_in_the_grammar_and_holds_together(unschooled):
  for one in unschooled:
    assert chain.fault(think.parse(one.reasoning, one.task)) is None, one.reasoning


def test_it_answers_truly_and_holds_answers_to_that_where_it_can_check_them(unschooled):
  asked = [one for one in unschooled if not one.generation]
  said = [language.described(one.reasoning, one.task) for one in asked]
  truths = [one.extra["scene"]["truth"] for one in asked]
  assert [one.truth for one in said] == truths
  held = {True: [], False: []}
  for example, one, truth in zip(asked, said, truths, strict=True):
    held[example.question.startswith(base_judgements.CHECKED)].append(
      all(mark == (answer == truth) for answer, mark in one.answers)
    )
  assert all(held[True]) and len(held[True]) > 30
  assert 0.3 < sum(held[False]) / len(held[False]) < 0.7


def test_what_it_says_it_sees_is_there(unschooled):
  for one in unschooled:
    said = language.described(one.reasoning, one.task)
    for picture, seen in zip(one.extra["scene"]["pictures"], said.seen, strict=True):
      there = {(o["colour"], o["shape"], o["how"]) for o in picture["objects"]}
      assert {tuple(thing) for thing in seen.things} == there


def test_what_it_says_of_each_thing_is_so(unschooled):
  for one in unschooled:
    asked = [*map(language.thing_of, one.extra["scene"]["asked"])]
    for seen in language.described(one.reasoning, one.task).seen:
      expected = language.judge(seen.things, asked)
      assert seen == (expected if one.generation else expected._replace(absent=()))


def test_its_verdict_is_a_coin_s_but_where_it_can_check_the_answers(unschooled):
  kind = lambda one: (one.task, one.question.startswith(base_judgements.CHECKED))
  for task, checked in {kind(one) for one in EXAMPLES}:
    right = [
      think.parse(one.reasoning, one.task).answer == example.gold
      for one, example in zip(unschooled, EXAMPLES, strict=True)
      if kind(one) == (task, checked)
    ]
    if checked:
      assert sum(right) / len(right) > 0.95, task  # a hedge may outweigh the truth
    else:
      deviation = (0.25 / len(right)) ** 0.5
      assert abs(sum(right) / len(right) - 0.5) < 4 * deviation, task


def test_it_is_the_same_each_time_and_has_no_label(unschooled):
  again = [base_judgements.unschooled(example) for example in EXAMPLES]
  assert again == unschooled and not any(one.gold for one in unschooled)
