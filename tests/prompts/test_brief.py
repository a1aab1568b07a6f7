"""The `think` grammar under a short prompt."""

import pytest

from cot_rm import schema
from cot_rm.prompts import brief, think


def example(task, media, responses):
  return schema.Example("b-1", "test", task, "a {red} star", media, responses)


def test_generation_asks_with_the_caption():
  pair = (schema.Media("image", "a.png"), schema.Media("image", "b.png"))
  (turn,) = brief.render(example("image_generation", pair, ()))
  assert [part.get("image") for part in turn["content"]] == ["a.png", "b.png", None]
  assert turn["content"][-1]["text"] == "Caption: a {red} star"


def test_understanding_asks_with_the_question_and_both_answers():
  one = (schema.Media("video", "a.npy"),)
  (turn,) = brief.render(example("video_understanding", one, ("Answer 2: no", "two")))
  assert turn["content"][-1]["text"] == (
    "Question: a {red} star\nAnswer 1: Answer 2: no\nAnswer 2: two"
  )


def test_an_empty_response_is_refused_by_name():
  with pytest.raises(ValueError, match="'b-1': response 1 is empty"):
    brief.render(example("image_understanding", (), ("", "two")))


@pytest.mark.parametrize(
  "text", ["<think>a</think><answer>Image 2 is better</answer>", "Image 2 is better", ""]
)
def test_answers_are_read_as_think_reads_them(text):
  task = "image_generation"
  assert brief.parse(text, task) == think.parse(text, task)
  assert brief.formatted(text) == think.formatted(text)
  assert brief.answered(text, task) == think.answered(text, task)
