"""The public data types: pairs in one line, checked where they are made, and exchanged."""

import dataclasses

import numpy as np
import pytest

from cot_rm import schema
from cot_rm.schema import Completion, Example, Media, Sheet, Verdict

A, B = Media("image", "a.png"), Media("image", "b.png")


def test_swapping_exchanges_candidates_and_gold_and_drops_the_reasoning():
  drawn = Example("1", "s", "image_generation", "a cat", media=(A, B), gold=1, reasoning="r")
  other = drawn.swapped()
  assert other.media == (B, A) and other.gold == 2 and other.reasoning is None
  assert other.extra["swapped"] and not other.swapped().extra["swapped"]
  assert other.swapped().media == drawn.media


def test_swapping_answers_leaves_the_picture_alone():
  asked = Example(
    "1", "s", "image_understanding", "how many?", media=(A,), responses=("one", "two")
  )
  assert asked.swapped().responses == ("two", "one")
  assert asked.swapped().media == (A,) and asked.swapped().gold is None


def test_a_pair_of_images_in_one_line():
  pair = Example.images("a red star", "a.png", Media("image", "b.png"), id="p", gold=2)
  assert pair == Example("p", "user", "image_generation", "a red star", (A, B), gold=2)


def test_a_pair_of_videos_in_one_line():
  frames = np.zeros((4, 8, 8, 3), np.uint8)
  pair = Example.videos("a cat jumps", "a.mp4", frames, fps=2.0)
  assert pair.task == "video_generation" and pair.id == "a cat jumps"
  assert pair.media[0] == Media("video", "a.mp4", 2.0) and pair.media[1].source is frames


def test_a_pair_of_answers_in_one_line():
  text = Example.answers("How much is 1 + 1?", "two", "three")
  assert (text.task, text.media, text.responses) == ("image_understanding", (), ("two", "three"))
  assert Example.answers("How many?", "two", "three", media="a.png").media == (A,)
  assert Example.answers("How many?", "two", "three", media=["a.png", B]).media == (A, B)
  clip = Media("video", "a.mp4")
  assert Example.answers("How many?", "two", "three", media=clip).task == "video_understanding"


def test_a_pair_without_a_name_is_called_by_the_beginning_of_its_question():
  assert Example.images("a  red\nstar", "a.png", "b.png").id == "a red star"
  long = Example.answers("What is it? " * 20, "a", "b")
  assert len(long.id) == 40 and long.id.endswith("...")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(task="image_understandin"), "'e-1': unknown task.*did you mean 'image_understanding'"),
    (dict(task="audio"), "'e-1': unknown task 'audio'; known: image_understanding"),
    (dict(gold=3), "'e-1': gold is 3; it must be 1, 2 or None"),
    (dict(responses=("red",)), "'e-1': .*two responses; got 1"),
    (dict(responses=("a", "b", "c")), "'e-1': .*two responses; got 3"),
    (dict(task="image_generation", media=(A,)), "'e-1': .*two media of kind 'image'; got image"),
    (
      dict(task="video_generation", media=(Media("video", "c"), A)),
      "'e-1': .*'video'; got video, image",
    ),
    (
      dict(task="image_generation", media=(A, B), responses=("a", "b")),
      "'e-1': .*takes no responses; got 2",
    ),
  ],
)
def test_an_example_that_no_judge_could_take_is_refused_where_it_is_made(fields, message):
  with pytest.raises(ValueError, match=message):
    Example(**{"id": "e-1", "source": "s", "task": "image_understanding", "question": "?"} | fields)


def test_media_that_are_no_media_are_refused_by_name():
  with pytest.raises(TypeError, match="'e-1': media must be a tuple of Media; found str"):
    Example("e-1", "s", "image_understanding", "?", media=("a.png",))


@pytest.mark.parametrize(
  "question, first, message",
  [
    (None, "a", "'None': question must be text, not NoneType"),
    ("?", 2, "'[?]': responses must be"),
  ],
)
def test_a_question_or_response_that_is_no_text_is_refused_by_name(question, first, message):
  with pytest.raises(TypeError, match=f"example {message}"):
    Example.answers(question, first, "b")


def test_an_unknown_way_of_ending_names_the_known_ones():
  with pytest.raises(ValueError, match="unknown finish 'stopped'; did you mean 'stop'"):
    Completion("", np.zeros(0, np.int32), np.zeros(0, np.float32), "stopped")


def test_a_verdict_shows_the_scores_of_its_sheet():
  sheet = Sheet((("Clarity", 9, 7),), ((9,), (7,)), (9, 7), ())
  assert Verdict(1, sheet=sheet).scores == (("Clarity", 9, 7),)
  assert Verdict(1, sheet=sheet).totals == (9, 7)
  assert Verdict(1).scores == () and Verdict(1).totals is None


def test_the_constants_are_those_of_the_types():
  assert schema.TASKS == (
    "image_understanding",
    "image_generation",
    "video_understanding",
    "video_generation",
  )


C = Media("image", "c.png")


def test_a_pair_of_edits_is_a_pair_of_images_made_from_the_media_of_its_question():
  pair = Example.mixed([A, "Make it ", C, " black."], [B], C, id="e", gold=1)
  assert (pair.task, pair.question, pair.responses) == ("image_generation", "Make it  black.", ())
  assert pair.media == (A, C, B, C) and pair.places == ((0, 8), (0,), (0,))
  assert pair.media_of == ((A, C), (B,), (C,)) and pair.gold == 1
  assert pair.pieces == ((A, "Make it ", C, " black."), (B,), (C,))


def test_candidates_of_texts_and_media_are_answers():
  pair = Example.mixed(["Tell a story."], ["One day ", B, "."], [C, A])
  assert (pair.task, pair.responses) == ("image_understanding", ("One day .", ""))
  assert pair.media == (B, C, A) and pair.places == ((), (8,), (0, 0))
  assert pair.pieces == (("Tell a story.",), ("One day ", B, "."), (C, A))
  kept = dataclasses.replace(pair, media=())  # as a log of answers has it
  assert kept.pieces == (("Tell a story.",), ("One day .",), ())
  clip = Media("video", "a.mp4")
  assert Example.mixed("Cut it.", [clip, "cut"], ["no"]).task == "video_understanding"
  assert Example.mixed([A, "Move."], clip, clip).task == "video_generation"
  assert Example.mixed("Which?", A, clip).task == "video_understanding"  # of no one kind


def test_a_pair_that_another_constructor_makes_is_the_same_as_theirs():
  assert Example.mixed("a star", A, [B]) == Example.images("a star", A, B)
  answers = Example.answers("How many?", "two", "three", media=[A, B])
  assert Example.mixed([A, B, "How many?"], "two", ["thr", "ee"]) == answers
  assert Example.mixed("1 + 1?", "2", "3") == Example.answers("1 + 1?", "2", "3")
  assert Example.mixed(["How many?", A], "two", "three").places == ((9,), (), ())


@pytest.mark.parametrize(
  "pair",
  [
    Example.mixed([A, "Make it black."], B, C, gold=1),
    Example.mixed(["Tell ", A, "a story."], ["One day ", B, "."], [C, A, "The end."], gold=1),
  ],
)
def test_swapping_exchanges_whole_candidates(pair):
  other = pair.swapped()
  question, first, second = pair.pieces
  assert other.pieces == (question, second, first) and other.gold == 2
  assert other.swapped().media == pair.media and other.swapped().places == pair.places
  unkept = dataclasses.replace(pair, media=())  # as a log of answers keeps it
  assert unkept.swapped() == dataclasses.replace(other, media=())


def test_places_that_do_not_fit_name_the_example():
  with pytest.raises(schema.BadExample, match="'e': 1 media, and 3 places"):
    Example("e", "s", "image_generation", "q", (A,), places=((0,), (0,), (0,)))
  with pytest.raises(schema.BadExample, match="'e': places are of 3 texts"):
    Example("e", "s", "image_understanding", "q", (A,), ("a", "b"), places=((0,),))
  with pytest.raises(schema.BadExample, match="'e': image_generation compares two media"):
    Example("e", "s", "image_generation", "q", (A, B, C), places=((0, 0), (0,), ()))
