"""What passes between the floors."""

from cot_rm import schema


def test_swapping_exchanges_candidates_and_gold_and_drops_the_reasoning():
  pictures = schema.Media("image", "a.png"), schema.Media("image", "b.png")
  drawn = schema.Example(
    "1", "s", "image_generation", "a cat", media=pictures, gold=1, reasoning="r"
  )
  other = drawn.swapped()
  assert other.media == pictures[::-1] and other.gold == 2 and other.reasoning is None
  assert other.extra["swapped"] and not other.swapped().extra["swapped"]
  assert other.swapped().media == drawn.media


def test_swapping_answers_leaves_the_picture_alone():
  picture = (schema.Media("image", "a.png"),)
  asked = schema.Example(
    "1", "s", "image_understanding", "how many?", media=picture, responses=("one", "two")
  )
  assert asked.swapped().responses == ("two", "one")
  assert asked.swapped().media == picture and asked.swapped().gold is None
