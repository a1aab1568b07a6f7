"""The words of the built-in world: captions, and reference judgements in the `think` grammar.

descriptions.py parses judgements that follow the templates of this module.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = ("red", "yellow", "green", "blue", "purple")
DIRECTIONS = ("left", "right", "up", "down")
NUMBERS = ("zero", "one", "two", "three", "four", "five")
# What may follow an object: its side (of two objects), its turn (of two), or its motion.
SIDES = {"left of": ("left", "right"), "above": ("above", "below")}
ORDER = ("first", "second")
STAYS = "stays"
HOWS = (*itertools.chain(*SIDES.values()), *ORDER, *(f"moves {way}" for way in DIRECTIONS), STAYS)

CORRECT, WRONG = "correct", "wrong"
HEDGE = "maybe"  # an answer that hedges is less clear, right or wrong
VERBS = ("shows", "has", "contains")
CONCLUSIONS = ("The answer is", "So the answer is")
MEDIUM = {"image": "Image", "video": "Video"}
DIMENSIONS = {
  "image_generation": ("Semantic consistency", "Authenticity"),
  "video_generation": ("Semantic consistency", "Temporal coherence"),
  "image_understanding": ("Correctness", "Clarity"),
  "video_understanding": ("Correctness", "Clarity"),
}

# Scores come after the description, so that they follow from words that are already written.
_OPENING_GENERATION = "{noun} 1 {verb}{seen1}. {noun} 2 {verb}{seen2}"
_OPENING_UNDERSTANDING = (
  "The {medium} {verb}{seen1}. {conclusion}{truth}. Answer 1{answer1}, Answer 2{answer2}"
)
_FRAME = (
  "<think>\n{opening}.\n"
  "1. {first}: {noun} 1 ({a1}/10); {noun} 2 ({a2}/10)\n"
  "2. {second}: {noun} 1 ({b1}/10); {noun} 2 ({b2}/10)\n"
  "Total score:\n{noun} 1: {a1}+{b1}={t1}\n{noun} 2: {a2}+{b2}={t2}\n"
  "</think>\n<answer>{noun} {choice} is better</answer>"
)
_SLOTS = (
  "seen1",
  "seen2",
  "truth",
  "answer1",
  "answer2",
  "a1",
  "a2",
  "b1",
  "b2",
  "t1",
  "t2",
  "choice",
)


class Thing(NamedTuple):
  """An object in words."""

  colour: str
  shape: str
  how: str = ""  # side, turn or motion: one of HOWS; "" if the question does not ask for it


class Description(NamedTuple):
  """The part of a judgement about one picture or video."""

  things: tuple[Thing, ...]  # that it says are there
  marks: tuple[bool, ...]  # "correct" after each thing: the caption, or the question, is about it
  absent: tuple[Thing, ...]  # that it says are not there; `how` is ""


def thing_name(thing: Iterable[str]) -> str:
  """Words of a thing: "blue star moves left"."""
  return " ".join(filter(None, thing))


def caption(things: Iterable[Thing]) -> str:
  """Caption that asks for things: "a blue star and a yellow triangle"."""
  return " and ".join(f"a {thing_name(thing)}" for thing in things)


def without_hedge(answer: str) -> str:
  """An answer without its hedge."""
  return answer.removeprefix(f"{HEDGE} ")


def describe(things: Iterable[Thing], asked: Sequence[Thing]) -> Description:
  """The true description of a candidate.

  Args:
    things: shown by the candidate.
    asked: things that the caption asks for, or that the question is about.
  """
  things = tuple(things)
  shown = {thing[:2] for thing in things}
  return Description(
    things=things,
    marks=tuple(thing in asked for thing in things),
    absent=tuple(Thing(*thing[:2]) for thing in asked if thing[:2] not in shown),
  )


def candidate_scores(description: Description) -> tuple[int, int]:
  """Scores of a generated candidate in the two dimensions of its task.

  The first is 9 less 4 per error, at least 1. An error is a wrong thing or a missing one; a wrong
  thing in place of a missing one is one error, not two. The second is 8, or 7 if there are more
  than two things: it never outweighs an error.
  """
  wrong = len(description.marks) - sum(description.marks)
  errors = max(wrong, len(description.absent))
  return max(1, 9 - 4 * errors), 8 - (len(description.things) > 2)


def answer_scores(answer: str, truth: str) -> tuple[int, int]:
  """Scores of an answer: 9, or 5 if it is wrong; 8, or 7 if it hedges."""
  plain = without_hedge(answer)
  return (9 if plain == truth else 5), 8 - (plain != answer)


def write_generation(
  task: str,
  asked: Sequence[Thing],
  shown: Sequence[Sequence[Thing]],
  *,
  verb: str,
  swap_scores: bool = False,
) -> str:
  """The reference judgement of two generated candidates; see `candidate_scores`.

  Args:
    task: one of schema.TASKS.
    asked: things that the caption asks for.
    shown: things of each candidate.
    verb: one of VERBS.
    swap_scores: gives each candidate the other one's scores.
  """
  first, second = (describe(things, asked) for things in shown)
  noun = MEDIUM[task.split("_")[0]]
  opening = _OPENING_GENERATION.format(
    noun=noun, verb=verb, seen1=_listed(first), seen2=_listed(second)
  )
  pair = [candidate_scores(first), candidate_scores(second)]
  return _framed(task, noun, opening, pair[::-1] if swap_scores else pair)


def write_understanding(
  task: str,
  things: Sequence[Thing],
  asked: Sequence[Thing],
  truth: str,
  responses: Sequence[str],
  *,
  verb: str,
  conclusion: str,
  expected: str | None = None,
) -> str:
  """The reference judgement of two answers about a picture or video; see `answer_scores`.

  Args:
    task: one of schema.TASKS.
    things: shown by the picture or video.
    asked: the things that the question is about: the answer is one step from them.
    truth: the answer that the judgement concludes.
    responses: the two answers.
    verb: one of VERBS.
    conclusion: one of CONCLUSIONS.
    expected: the answer that is marked correct; None: the truth.
  """
  right = truth if expected is None else expected
  plain = [without_hedge(response) for response in responses]
  marked = [f" {one} {CORRECT if one == right else WRONG}" for one in plain]
  opening = _OPENING_UNDERSTANDING.format(
    medium=task.split("_")[0],
    verb=verb,
    seen1=_listed(describe(things, asked)._replace(absent=())),
    conclusion=conclusion,
    truth=f" {truth}",
    answer1=marked[0],
    answer2=marked[1],
  )
  return _framed(task, "Answer", opening, [answer_scores(one, right) for one in responses])


def _listed(description: Description) -> str:
  marks = [CORRECT if mark else WRONG for mark in description.marks]
  items = [
    f" {thing_name(thing)} {mark}" for thing, mark in zip(description.things, marks, strict=True)
  ]
  return ",".join(items + [f" no {thing_name(thing)}" for thing in description.absent])


def _framed(task: str, noun: str, opening: str, pair: Sequence[tuple[int, int]]) -> str:
  (a1, b1), (a2, b2) = pair
  first, second = DIMENSIONS[task]
  return _FRAME.format(
    opening=opening,
    noun=noun,
    first=first,
    second=second,
    a1=a1,
    b1=b1,
    a2=a2,
    b2=b2,
    t1=a1 + b1,
    t2=a2 + b2,
    choice=1 if a1 + b1 > a2 + b2 else 2,
  )


def _templates(task: str) -> Iterator[str]:
  """Every wording of a judgement of this task, with its slots unfilled."""
  slots = {slot: "{" + slot + "}" for slot in _SLOTS}
  medium = task.split("_")[0]
  first, second = DIMENSIONS[task]
  for verb, conclusion in itertools.product(VERBS, CONCLUSIONS):
    if task.endswith("generation"):
      noun = MEDIUM[medium]
      opening = _OPENING_GENERATION.format(**slots | {"noun": noun, "verb": verb})
    else:
      noun = "Answer"
      opening = _OPENING_UNDERSTANDING.format(
        **slots | {"medium": medium, "verb": verb, "conclusion": conclusion}
      )
    yield _FRAME.format(
      **slots | {"opening": opening, "noun": noun, "first": first, "second": second}
    )


def phrases(tasks: Iterable[str]) -> list[str]:
  """The fixed texts between the slots of the templates, each worth a token of its own.

  They have no digits, names of things, answers or marks.
  """
  return sorted(
    {
      text
      for task in tasks
      for template in _templates(task)
      for text in re.split(r"\{\w+\}", template)
      if len(text) > 1
    }
  )


def to_thing(record: Mapping[str, str]) -> Thing:
  """The Thing of an object in a scene."""
  return Thing(record["colour"], record["shape"], record["how"])
