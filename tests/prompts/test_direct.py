"""UnifiedReward's direct prompts."""

import time

import pytest

from cot_rm import schema
from cot_rm.prompts import direct

G, U, V, W = "image_generation", "image_understanding", "video_generation", "video_understanding"


def example(task, **changed):
  kind = task.split("_")[0]
  media = (schema.Media(kind, "a"),) * (2 if task.endswith("generation") else 1)
  responses = () if task.endswith("generation") else ("{R2}", "no")
  fields = dict(
    id="d-1", source="test", task=task, question="a {red} star", media=media, responses=responses
  )
  return schema.Example(**{**fields, **changed})


@pytest.mark.parametrize(
  ("task", "part"),
  [
    (G, "Your task is provided as follows:\nText Caption: [a {red} star]"),
    (V, "Your task is as follows:\nText Caption: [a {red} star]"),
    (U, "\n\nQuestion: a {red} star\nAnswer 1: {R2}\nAnswer 2: no"),
    (W, "is better\nQuestion: a {red} star\nAnswer 1: {R2}\nAnswer 2: no\nPlease evaluate"),
  ],
)
def test_each_task_has_its_published_prompt(task, part):
  (turn,) = direct.render(example(task))
  assert part in turn["content"][-1]["text"]
  assert "<think>" not in turn["content"][-1]["text"]


def test_an_empty_response_is_refused_by_name():
  with pytest.raises(ValueError, match="'d-1': response 1 is empty"):
    direct.render(example(U, responses=("", "no")))


# id, task, text, answer. The rule is behind each line.
TABLE = [
  ("dot", G, "Image 1 is better.", 1),  # the prompt's own words
  ("bare", G, "Image 2 is better", 2),  # the label alone
  ("comma", V, "Video 1 is better,", 1),  # the prompt's own comma, at the end
  ("quoted", V, "'Video 2 is better.'", 2),  # the prompt's own quotes
  ("than", G, "Image 2 is better than Image 1.", 2),  # v1 wording, names both
  ("reason_after", G, "Image 1 is better. It has the hat.", 1),  # v1 data: verdict, then reason
  ("reason_before", U, "Both are short.\nAnswer 2 is better.", 2),
  ("bold", U, "Reasons...\n\n**Answer 2 is better.**", 2),
  ("overall", W, "1. Accuracy: fine.\n\nOverall Judgment: Answer 1 is better than Answer 2.", 1),
  (
    "overall_wins",
    W,
    "Answer 1 is better.\nOverall Judgment: Answer 2 is better than Answer 1.",
    2,
  ),  # only what follows it counts
  ("overall_bold", W, "**Overall Judgment**: Answer 2 is better than Answer 1.", 2),
  ("praise", G, "Image 2 is better lit. Image 1 is better.", 1),  # praise is no verdict
  ("said_twice", G, "Image 1 is better. Truly,\nImage 1 is better than Image 2.", 1),
  ("upper", G, "IMAGE 1 IS BETTER.", None),  # case
  ("noun", V, "Image 1 is better.", None),  # noun by task
  ("ten", G, "Image 10 is better.", None),
  ("itself", G, "Image 1 is better than Image 1.", None),
  ("third", G, "Image 1 is better than Image 3.", None),
  ("contradiction", G, "Image 1 is better. However Image 2 is better.", None),  # two answers
  ("lines", G, "Image 1 is better.\nImage 2 is better.", None),
  (
    "prompt_echo",
    G,
    '"Image 1 is better.", "Image 2 is better." and "Both images are equally good."',
    None,
  ),
  # Taken back: in other words than a verdict's, which "contradiction" is about.
  ("no_wait", G, "Image 1 is better. No, wait: Image 2 wins.", None),
  ("wrong", G, "Image 1 is better. That is wrong.", None),
  ("wrong_too", U, "Answer 2 is better.\nOn second thought, this verdict is incorrect.", None),
  ("not_better", G, "Image 1 is better. Actually, Image 1 is not better.", None),
  ("denied", V, "Video 2 is better. But I do not really think that Video 2 is better.", None),
  ("superior", G, "Image 1 is better. However, Image 2 is clearly superior.", None),
  ("best", G, "Image 1 is better. All in all Image 2 is the better one.", None),
  ("worse", U, "Answer 1 is better. Having looked again, Answer 1 is worse than Answer 2.", None),
  ("prefer", U, "Answer 1 is better. I would prefer Answer 2.", None),
  ("kidding", G, "Image 1 is better. Just kidding.", None),
  ("taken_back_line", G, "**Image 1 is better.**\n\nI take that back.", None),
  ("overall_back", W, "Overall Judgment: Answer 1 is better. Wait, that is not true.", None),
  # Not taken back: what is said of the pictures.
  (
    "kept_not",
    G,
    "Image 1 is better. Image 2 does not show the hat, and Image 1 is not blurry.",
    1,
  ),
  ("kept_wrong", G, "Image 1 is better. The hat in Image 2 is wrong.", 1),
  ("kept_superior", G, "Image 1 is better. Image 2 is superior in colour only.", 1),
  ("kept_better", G, "Image 1 is better. Although Image 2 is better composed, it has no hat.", 1),
  ("kept_wait", U, "Answer 1 is better. It says that people wait for the bus, no more.", 1),
  ("kept_worse", G, "Image 1 is better. Image 2 is worse in every respect.", 1),
  (
    "before",
    G,
    "At first Image 2 seems better. Wait, its hat is red. Image 1 is better.",
    1,
  ),  # only what follows the verdict takes it back
  ("tie", G, "Both images are equally good.", None),  # no tie in a pair
  ("tie_too", V, "Video 1 is better. Both videos are equally good.", None),
  ("negated", G, "I do not think Image 1 is better.", None),  # no sentence of its own
  ("hedged", G, "Image 1 is better in colour only.", None),
  ("tags", G, "<think>a</think><answer>Image 1 is better</answer>", None),  # not asked for
  ("tag_behind", G, "Image 1 is better.\n<answer>Image 1 is better</answer>", None),
  (
    "two_overall",
    W,
    "Overall Judgment: Answer 1 is better.\nOverall Judgment: Answer 1 is better.",
    None,
  ),
  ("overall_empty", W, "Answer 1 is better.\nOverall Judgment: unclear", None),
  ("digit", U, "1", None),
  ("empty", U, "", None),
]


@pytest.mark.parametrize(
  ("task", "text", "answer"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_each_text_is_read_as_its_rule_says(task, text, answer):
  verdict = direct.parse(text, task)
  assert verdict.answer == answer
  assert (verdict.error is None) == (answer is not None)
  assert direct.answered(text, task) == answer
  if answer:
    assert text[slice(*verdict.span)] == str(answer)
    assert direct.formatted(text)


def test_reasoning_is_what_stands_around_the_verdict():
  assert direct.parse("Image 1 is better. It has the hat.", G).reasoning == "It has the hat"


@pytest.mark.parametrize(
  "babble",
  ["\n", " ", ". ", "Image 1 is better ", "Image 1 is better than ", "Image 2 is a ", "not "],
)
def test_babble_is_read_quickly(babble):
  assert direct.parse(babble * 20_000, G).answer is None
  start = time.monotonic()
  direct.parse("Image 1 is better. " + babble * 20_000, G)
  assert time.monotonic() - start < 2
