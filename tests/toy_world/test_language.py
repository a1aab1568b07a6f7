import re

import pytest

from cot_rm import schema
from cot_rm.prompts import think
from cot_rm.toy_world import language
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


def test_a_reference_is_written_word_for_word():
  text = language.generation(
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
  text = language.understanding(
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
  assert language.scores(language.judge(things, [BLUE_STAR, RED_CIRCLE])) == expected


@pytest.mark.parametrize("split, count", [("train", 2000), ("hard", 300)])
@pytest.mark.parametrize("task", schema.TASKS)
def test_references_are_in_the_grammar_and_true_and_agree_with_gold(task, split, count):
  world = toy_world.World(**{one: float(one == task) for one in schema.TASKS})
  for example in toy_world.examples(world, split, count=count):
    assert example.task == task
    text = example.reasoning
    assert language.fidelity(text, example) == 1.0, text
    verdict = think.parse(text, task)
    assert verdict.answer == example.gold == think.answered(text, task), (text, verdict)
    assert think.formatted(text)
    assert tuple(name for name, _, _ in verdict.scores) == language.DIMENSIONS[task]
    sums = [sum(scores) for scores in list(zip(*verdict.scores, strict=True))[1:]]
    assert tuple(sums) == verdict.totals
    assert (verdict.totals[0] > verdict.totals[1]) == (verdict.answer == 1)
    assert abs(verdict.totals[0] - verdict.totals[1]) >= 3  # no near-ties


def test_what_is_described_is_read_back():
  said = language.described(_judgement(TRUE), "image_generation")
  assert said.seen == (
    language.Seen((BLUE_STAR, RED_CIRCLE), (True, True), ()),
    language.Seen((RED_CIRCLE, GREEN_STAR), (True, False), (BLUE_STAR,)),
  )


# 14 statements and things when all is said: 4 things, 4 marks, 1 absence, 4 mentions; 13 in all.
@pytest.mark.parametrize(
  "old, new, expected",
  [
    ("blue star correct", "blue star correct", 1.0),
    ("blue star correct", "purple star correct", 10 / 13),  # not there, not asked, not mentioned
    ("blue star correct", "blue square correct", 10 / 13),
    ("blue star correct", "blue star wrong", 12 / 13),
    ("blue star correct, ", "", 10 / 11),  # two statements less, one thing not mentioned
    ("blue star correct", "blue star correct, blue star correct", 14 / 15),  # there only once
    (", no blue star", ", no red circle", 12 / 13),  # it is there
    (", no blue star", ", no purple star", 12 / 13),  # nobody asked for it
    ("Image 1 shows", "Image 1 depicts", 0.0),
    ("Image 1", "Answer 1", 0.0),
    ("blue star correct", "pink star correct", 0.0),
    ("blue star correct", "blue star", 0.0),  # no mark
    ("no blue star.", "no blue star", 0.0),  # never ends
  ],
)
def test_fidelity_falls_with_what_is_not_so(old, new, expected):
  assert old in TRUE
  text = _judgement(TRUE.replace(old, new, 1))
  assert language.fidelity(text, _example(None)) == pytest.approx(expected)


def test_fidelity_follows_the_order_of_the_candidates():
  assert language.fidelity(_judgement(TRUE), _example(None, swapped=True)) < 0.8
  swapped = (
    "Image 1 shows red circle correct, green star wrong, no blue star. "
    "Image 2 shows blue star correct, red circle correct."
  )
  assert language.fidelity(_judgement(swapped), _example(None, swapped=True)) == 1.0


def test_fidelity_of_an_understanding_task_holds_count_answer_and_marks_to_the_scene():
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
    assert 0 < language.fidelity(text.replace(old, new, 1), example) < 1
  assert language.fidelity(text.replace("The image", "The video"), example) == 0.0


def test_an_example_without_a_scene_has_no_fidelity():
  example = schema.Example("a", "jsonl", "image_generation", "a blue star")
  assert language.fidelity(_judgement(TRUE), example) is None


def test_phrases_and_words_tile_every_reference_in_few_tokens():
  world = toy_world.World()
  phrases = sorted(toy_world.phrases(world), key=len, reverse=True)
  tokens = re.compile("|".join(map(re.escape, phrases)) + r"| ?[a-z]+|[,+=]|[ ]?\d")
  lengths = []
  for example in toy_world.examples(world, "train", count=1000):
    pieces = tokens.findall(example.reasoning)
    assert "".join(pieces) == example.reasoning
    lengths.append(len(pieces))
  assert max(lengths) <= 60
  assert sum(lengths) / len(lengths) < 48


def test_no_phrase_holds_a_word_that_the_verdict_hangs_on():
  held = {
    word for phrase in toy_world.phrases(toy_world.World()) for word in re.findall(r"\w+", phrase)
  }
  assert not held & {
    *language.COLOURS,
    *language.SHAPES,
    *language.NUMBERS,
    "correct",
    "wrong",
    "no",
    "yes",
  }
