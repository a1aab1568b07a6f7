"""Wrong readings of a scene lead to the wrong verdict, and differ from the right one by little."""

import collections

import pytest

from cot_rm.toy_world import language, misreadings
from cot_rm.toy_world import world as toy_world

WORLDS = (toy_world.World(), toy_world.World(side=112, objects=(2, 3)))
Thing = language.Thing


def things(picture):
  return tuple(Thing(one["colour"], one["shape"], one["how"]) for one in picture["objects"])


def worlds(count, *, generation):
  for world in WORLDS:
    for split in ("train", "hard"):
      for example in toy_world.examples(world, split, count=count):
        if example.generation == generation:
          yield example, [things(picture) for picture in example.extra["scene"]["pictures"]]


def test_the_things_of_a_scene_give_its_answer_and_the_caption_its_things():
  kinds = collections.Counter()
  for example, (seen,) in worlds(150, generation=False):
    scene = example.extra["scene"]
    assert misreadings.answer(example.question, seen) == scene["truth"], example.question
    asked = [language.to_thing(one) for one in scene["asked"]]
    assert misreadings.relevant_things(example.question, seen) == asked
    kinds[scene["kind"]] += 1
  assert set(kinds) == {"count", "colour", "shape", "side", "order", "direction"}
  for example, _ in worlds(60, generation=True):
    asked = [
      Thing(one["colour"], one["shape"], one["how"]) for one in example.extra["scene"]["asked"]
    ]
    assert misreadings.parse_caption(example.question) == asked


def test_the_things_that_a_question_is_about():
  star = lambda colour, how="": Thing(colour, "star", how)
  red, blue = star("red"), star("blue")
  above, below = star("red", "above"), star("blue", "below")
  moves, stays = star("red", "moves up"), Thing("blue", "circle", "stays")
  first, second = star("red", "first"), star("blue", "second")
  for question, things, expected in (
    ("How many stars are there?", [red, blue], [red, blue]),
    ("How many blue shapes are there?", [red, blue], [blue]),
    ("How many circles are there?", [red, blue], []),
    ("Is the red star above the blue star?", [above, below], [above, below]),
    ("Is the blue star above the red star?", [above, below], []),
    ("Is the red star left of the blue star?", [above, below], []),
    ("What colour is the star?", [red, Thing("red", "circle")], [red]),
    ("What shape is the red one?", [red, blue], [red]),
    ("Which way does the star move?", [moves, stays], [moves]),
    ("What shape moves?", [moves, stays], [moves]),
    ("What colour is the shape that moves?", [moves, stays], [moves]),
    ("Which appears first?", [first, second], [first]),
  ):
    assert misreadings.relevant_things(question, things) == expected, question


def test_a_question_that_the_scene_leaves_open_has_no_answer():
  two = (Thing("red", "star"), Thing("blue", "star"))
  assert misreadings.answer("What colour is the star?", two) is None
  assert misreadings.answer("Is the red star above the blue star?", two) is None
  assert misreadings.answer("How many stars are there?", two) == "two"


def test_a_wrong_reading_makes_the_wrong_answer_right():
  for example, (seen,) in worlds(60, generation=False):
    readings = misreadings.of_answers(example.question, seen, example.responses)
    wrong = language.without_hedge(example.responses[2 - example.gold])
    assert readings
    for reading in readings:
      assert reading != seen and misreadings.answer(example.question, reading) == wrong
      kinds = {thing[:2] for thing in reading}
      assert len(kinds) == len(reading)  # no two alike
      assert abs(len(reading) - len(seen)) <= 1


def test_wrong_readings_of_candidates_make_the_worse_one_win():
  for example, shown in worlds(25, generation=True):
    caption = misreadings.parse_caption(example.question)
    for reading in misreadings.of_candidates(caption, shown):
      totals = [sum(language.candidate_scores(language.describe(one, caption))) for one in reading]
      assert totals[2 - example.gold] > totals[example.gold - 1]


def test_candidates_without_a_misreading_by_one_detail_are_mistaken_for_each_other():
  asked = [Thing("red", "star"), Thing("blue", "circle")]
  other = (Thing("green", "square"), Thing("yellow", "triangle"))  # both wrong: 8 points behind
  assert misreadings.of_candidates(asked, (tuple(asked), other)) == [(other, tuple(asked))]


def test_a_question_or_caption_of_another_world_is_an_error():
  star = (Thing("red", "star"),)
  with pytest.raises(ValueError, match="not a question of the built-in world: 'Is it art"):
    misreadings.answer("Is it art?", star)
  with pytest.raises(ValueError, match="not a caption of the built-in world: 'a dog"):
    misreadings.parse_caption("a dog and a red star")
  with pytest.raises(ValueError, match="not one right and one wrong answer"):
    misreadings.of_answers("What colour is the star?", star, ("blue", "green"))
  with pytest.raises(ValueError, match="equally good for 'a red star'"):
    misreadings.of_candidates(list(star), (star, star))
