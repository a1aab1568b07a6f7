"""Selected RL prompts and their order."""

import dataclasses

import pytest

from cot_rm import schema
from cot_rm.data import selection


def example(name, attempts, task="image_generation"):
  return schema.Example(id=name, source="t", task=task, question="?", gold=1, attempts=attempts)


SOURCE = [example("a", 1), example("b", 4), example("c", 2), example("d", 2), example("e", 1)]


def names(source):
  return "".join(source[i].id for i in range(len(source)))


def test_all_are_the_source_itself():
  assert selection.select(SOURCE) is SOURCE


def test_hard_ones_took_the_teacher_more_than_one_attempt():
  assert names(selection.select(SOURCE, min_attempts=2)) == "bcd"


def test_ascending_is_easy_first_and_keeps_the_order_of_equals():
  assert names(selection.select(SOURCE, order="ascending")) == "aecdb"
  assert names(selection.select(SOURCE, min_attempts=2, order="ascending")) == "cdb"


def test_tasks_are_selected_with_attempts_and_without():
  source = [*SOURCE, example("v", None, "video_generation"), example("u", 3, "image_understanding")]
  assert names(selection.select(source, tasks=["video_generation"])) == "v"
  pictures = ["image_generation", "image_understanding"]
  assert names(selection.select(source, tasks=pictures, min_attempts=3)) == "bu"


@pytest.mark.parametrize(
  "knobs, message",
  [
    (dict(order="descending"), "unknown order 'descending'; .*known: shuffled, ascending"),
    (dict(tasks=["video"]), "none of 5 examples has a task of video; change tasks"),
    (dict(min_attempts=9), "none of 5 examples took 9 attempts"),
  ],
)
def test_an_impossible_selection_is_an_error(knobs, message):
  with pytest.raises(ValueError, match=message):
    selection.select(SOURCE, **knobs)


def test_an_example_without_attempts_is_named():
  with pytest.raises(ValueError, match="example 'f' has no attempts"):
    selection.select([*SOURCE, example("f", None)], min_attempts=2)


def test_pairs_without_any_gold_answer_are_refused_where_a_reward_needs_one():
  unlabelled = [dataclasses.replace(one, gold=None) for one in SOURCE]
  assert selection.select(unlabelled) is unlabelled
  with pytest.raises(ValueError, match="none of 5 examples has a gold answer"):
    selection.select(unlabelled, needs_gold=True)
  assert selection.select([*unlabelled, SOURCE[0]], needs_gold=True)
