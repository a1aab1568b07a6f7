"""Reference judgements: their words, scores and phrases."""

import re

import pytest

from cot_rm import schema
from cot_rm.prompts import think
from cot_rm.toy_world import descriptions, language
from cot_rm.toy_world import world as toy_world

THING = language.Thing
BLUE_STAR, RED_CIRCLE = THING("blue", "star"), THING("red", "circle")
GREEN_STAR = THING("green", "star")


TRUE = (
  "Image 1 shows blue star correct, red circle correct. "
  "Image 2 shows red circle correct, green star wrong, no blue star."
)


def test_a_reference_is_written_word_for_word():
  text = language.write_generation(
    "image_generation",
    [BLUE_STAR, RED_CIRCLE],
    [[BLUE_STAR, RED_CIRCLE], [RED_CIRCLE, GREEN_STAR]],
    verb="shows",
  )
  assert (
    text
    == f"""<think>
{TRUE}
1. Semantic consistency: Image 1 (9/10); Image 2 (5/10)
2. Authenticity: Image 1 (8/10); Image 2 (8/10)
Total score:
Image 1: 9+8=17
Image 2: 5+8=13
</think>
<answer>Image 1 is better</answer>"""
  )


def test_a_reference_about_answers_is_written_word_for_word():
  text = language.write_understanding(
    "video_understanding",
    [BLUE_STAR._replace(how="moves left"), RED_CIRCLE],
    [BLUE_STAR._replace(how="moves left")],
    "left",
    ("maybe left", "up"),
    verb="has",
    conclusion="The answer is",
  )
  assert (
    text
    == """<think>
The video has blue star moves left correct, red circle wrong. \
The answer is left. Answer 1 left correct, Answer 2 up wrong.
1. Correctness: Answer 1 (9/10); Answer 2 (5/10)
2. Clarity: Answer 1 (7/10); Answer 2 (8/10)
Total score:
Answer 1: 9+7=16
Answer 2: 5+8=13
</think>
<answer>Answer 1 is better</answer>"""
  )


@pytest.mark.parametrize(
  "things, expected",
  [
    ([BLUE_STAR, RED_CIRCLE], (9, 8)),
    ([BLUE_STAR], (5, 8)),  # one missing
    ([GREEN_STAR, RED_CIRCLE], (5, 8)),  # one in another's place
    ([BLUE_STAR, RED_CIRCLE, GREEN_STAR], (5, 7)),  # one too many, and a crowd
    ([GREEN_STAR], (1, 8)),  # one in another's place and one missing
    ([GREEN_STAR, THING("red", "star"), THING("red", "square")], (1, 7)),  # never below 1
  ],
)
def test_scores_follow_from_the_errors(things, expected):
  assert language.candidate_scores(language.describe(things, [BLUE_STAR, RED_CIRCLE])) == expected


@pytest.mark.parametrize("split, count", [("train", 2000), ("hard", 300)])
@pytest.mark.parametrize("task", schema.TASKS)
def test_references_are_in_the_grammar_and_true_and_agree_with_gold(task, split, count):
  world = toy_world.World(**{one: float(one == task) for one in schema.TASKS})
  for example in toy_world.examples(world, split, count=count):
    assert example.task == task
    text = example.reasoning
    assert descriptions.fidelity(text, example) == 1.0, text
    verdict = think.parse(text, task)
    assert verdict.answer == example.gold == think.answered(text, task), (text, verdict)
    assert think.formatted(text)
    assert tuple(name for name, _, _ in verdict.scores) == language.DIMENSIONS[task]
    sums = [sum(scores) for scores in list(zip(*verdict.scores, strict=True))[1:]]
    assert tuple(sums) == verdict.totals
    assert (verdict.totals[0] > verdict.totals[1]) == (verdict.answer == 1)
    assert abs(verdict.totals[0] - verdict.totals[1]) >= 3  # no near-ties


def test_phrases_and_words_cover_every_reference_in_few_tokens():
  world = toy_world.World()
  phrases = sorted(toy_world.phrases(world), key=len, reverse=True)
  tokens = re.compile("|".join(map(re.escape, phrases)) + r"| ?[a-z]+|[,+=]|[ ]?\d")
  lengths = []
  for example in toy_world.examples(world, "train", count=1000):
    found = tokens.findall(example.reasoning)
    assert "".join(found) == example.reasoning
    lengths.append(len(found))
  assert max(lengths) <= 60
  assert sum(lengths) / len(lengths) < 48


def test_no_phrase_has_a_word_that_decides_the_verdict():
  words = {
    word for phrase in toy_world.phrases(toy_world.World()) for word in re.findall(r"\w+", phrase)
  }
  assert not words & {
    *language.COLOURS,
    *language.SHAPES,
    *language.NUMBERS,
    "correct",
    "wrong",
    "no",
    "yes",
  }
