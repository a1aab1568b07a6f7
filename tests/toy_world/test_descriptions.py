"""Judgements of the built-in world parsed back, and their fidelity to the scene."""

import pytest

from cot_rm import schema
from cot_rm.toy_world import descriptions, language
from cot_rm.toy_world import world as toy_world

THING = language.Thing
BLUE_STAR, RED_CIRCLE = THING("blue", "star"), THING("red", "circle")
GREEN_STAR = THING("green", "star")


def _example(reasoning, *, swapped=False):
  """Caption "a blue star and a red circle"; picture 1 shows it, picture 2 has the star in green."""
  record = lambda thing: {"colour": thing.colour, "shape": thing.shape, "how": thing.how}
  shown = [[BLUE_STAR, RED_CIRCLE], [RED_CIRCLE, GREEN_STAR]]
  scene = {
    "kind": "caption",
    "truth": None,
    "asked": [record(BLUE_STAR), record(RED_CIRCLE)],
    "pictures": [{"objects": [record(thing) for thing in things]} for things in shown],
  }
  example = schema.Example(
    "a",
    "shapes",
    "image_generation",
    "a blue star and a red circle",
    gold=1,
    reasoning=reasoning,
    extra={"scene": scene},
  )
  return example.swapped() if swapped else example


def _judgement(description):
  return f"<think>\n{description}\n1. Semantic consistency: ..."


TRUE = (
  "Image 1 shows blue star correct, red circle correct. "
  "Image 2 shows red circle correct, green star wrong, no blue star."
)


def test_a_written_description_is_parsed_back():
  parsed = descriptions.parse(_judgement(TRUE), "image_generation")
  assert parsed.described == (
    language.Description((BLUE_STAR, RED_CIRCLE), (True, True), ()),
    language.Description((RED_CIRCLE, GREEN_STAR), (True, False), (BLUE_STAR,)),
  )


# 13 statements and mentions: 4 things, 4 marks, 1 absence, 4 mentions.
@pytest.mark.parametrize(
  "old, new, expected",
  [
    ("blue star correct", "blue star correct", 1.0),
    ("blue star correct", "purple star correct", 10 / 13),  # absent, not asked for, not mentioned
    ("blue star correct", "blue square correct", 10 / 13),
    ("blue star correct", "blue star wrong", 12 / 13),
    ("blue star correct, ", "", 10 / 11),  # two statements less, one thing not mentioned
    ("blue star correct", "blue star correct, blue star correct", 14 / 15),  # there only once
    (", no blue star", ", no red circle", 12 / 13),  # it is there
    (", no blue star", ", no purple star", 12 / 13),  # not asked for
    ("Image 1 shows", "Image 1 depicts", 0.0),
    ("Image 1", "Answer 1", 0.0),
    ("blue star correct", "pink star correct", 0.0),
    ("blue star correct", "blue star", 0.0),  # no mark
    ("no blue star.", "no blue star", 0.0),  # never ends
  ],
)
def test_fidelity_falls_with_untrue_statements(old, new, expected):
  assert old in TRUE
  text = _judgement(TRUE.replace(old, new, 1))
  assert descriptions.fidelity(text, _example(None)) == pytest.approx(expected)


def test_fidelity_follows_the_order_of_the_candidates():
  assert descriptions.fidelity(_judgement(TRUE), _example(None, swapped=True)) < 0.8
  swapped = (
    "Image 1 shows red circle correct, green star wrong, no blue star. "
    "Image 2 shows blue star correct, red circle correct."
  )
  assert descriptions.fidelity(_judgement(swapped), _example(None, swapped=True)) == 1.0


def test_fidelity_of_an_understanding_task_covers_count_answer_and_marks():
  world = toy_world.World(image_generation=0, video_generation=0, video_understanding=0)
  example = next(
    one for one in toy_world.examples(world, "train") if one.extra["scene"]["kind"] == "count"
  )
  text = example.reasoning
  truth = example.extra["scene"]["truth"]
  for old, new in (
    (f"nswer is {truth}", "nswer is five"),
    (" correct", " wrong"),
    (f" {truth} correct", " five correct"),
  ):
    assert old in text
    assert 0 < descriptions.fidelity(text.replace(old, new, 1), example) < 1
  assert descriptions.fidelity(text.replace("The image", "The video"), example) == 0.0


def test_an_example_without_a_scene_has_no_fidelity():
  example = schema.Example("a", "jsonl", "image_generation", "a blue star")
  assert descriptions.fidelity(_judgement(TRUE), example) is None
