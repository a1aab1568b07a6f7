"""Answers to questions of the built-in world, and misreadings that lead to a wrong verdict.

A misreading is a correct reading of another scene: its answer follows from the things that it sees.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

from cot_rm.toy_world import language
from cot_rm.toy_world.language import Thing

Reading = tuple[Thing, ...]  # the things that a judge sees, rightly or not, in a picture or video

_COLOUR, _SHAPE = (f"({'|'.join(words)})" for words in (language.COLOURS, language.SHAPES))
_CAPTION = re.compile(rf"a {_COLOUR} {_SHAPE}(?: ({'|'.join(language.HOWS)}))?")
_SIDE = re.compile(
  rf"Is the {_COLOUR} {_SHAPE} ({'|'.join(language.SIDES)}) the {_COLOUR} {_SHAPE}\?"
)
_NUMBER = re.compile(rf"How many (?:{_COLOUR} shapes|{_SHAPE}s) are there\?")


def answer(question: str, things: Sequence[Thing]) -> str | None:
  """The answer to a question about these things; None if they do not decide it."""
  asked = relevant_things(question, things)
  if _NUMBER.fullmatch(question):
    return language.NUMBERS[len(asked)]
  if found := _SIDE.fullmatch(question):
    places = {thing[:2]: thing.how for thing in things}
    sides = tuple(places.get(pair) for pair in (found.group(1, 2), found.group(4, 5)))
    near, far = language.SIDES[found[3]]
    return {(near, far): "yes", (far, near): "no"}.get(sides)
  if len(asked) != 1:
    return None
  (thing,) = asked
  if question.startswith("What colour"):
    return thing.colour
  if question.startswith("What shape"):
    return thing.shape
  if question.startswith("Which way"):
    return thing.how.removeprefix("moves ")
  return " ".join(thing[:2])


def relevant_things(question: str, things: Iterable[Thing]) -> list[Thing]:
  """The things that a question counts or whose look it asks for.

  If it asks about sides, the things that are on the sides it names. Raises ValueError for a
  question that is not of the built-in world.
  """

  def pick(fits: Callable[[Thing], bool]) -> list[Thing]:
    return [thing for thing in things if fits(thing)]

  def moves(thing: Thing) -> bool:
    return thing.how.startswith("moves ")

  if found := _NUMBER.fullmatch(question):
    return pick(lambda thing: (found[1] or found[2]) in thing[:2])
  if found := _SIDE.fullmatch(question):
    near, far = language.SIDES[found[3]]
    return pick(lambda thing: thing in ((*found.group(1, 2), near), (*found.group(4, 5), far)))
  if found := re.fullmatch(rf"What colour is the {_SHAPE}\?", question):
    return pick(lambda thing: thing.shape == found[1])
  if found := re.fullmatch(rf"What shape is the {_COLOUR} one\?", question):
    return pick(lambda thing: thing.colour == found[1])
  if found := re.fullmatch(rf"Which way does the {_SHAPE} move\?", question):
    return pick(lambda thing: moves(thing) and thing.shape == found[1])
  if question == "Which appears first?":
    return pick(lambda thing: thing.how == language.ORDER[0])
  if question in ("What colour is the shape that moves?", "What shape moves?"):
    return pick(moves)
  raise ValueError(f"not a question of the built-in world: {question!r}")


def parse_caption(caption: str) -> list[Thing]:
  """The things that a caption asks for; raises ValueError if it is not of the built-in world."""
  found = [_CAPTION.fullmatch(part) for part in re.split(r" and (?=a )", caption)]
  if None in found:
    raise ValueError(f"not a caption of the built-in world: {caption!r}")
  return [Thing(one[1], one[2], one[3] or "") for one in found]


def of_answers(question: str, things: Sequence[Thing], responses: Sequence[str]) -> list[Reading]:
  """Readings, wrong by one detail, in which the wrong one of two answers is right."""
  truth = answer(question, things)
  plain = [language.without_hedge(response) for response in responses]
  if truth not in plain or plain[0] == plain[1]:
    raise ValueError(f"{responses} to {question!r}: not one right and one wrong answer")
  (wrong,) = (one for one in plain if one != truth)
  return [reading for reading in _misread(things) if answer(question, reading) == wrong]


def of_candidates(
  asked: Sequence[Thing], shown: Sequence[Reading]
) -> list[tuple[Reading, Reading]]:
  """Readings of two candidates, each wrong by one detail at most, in which the worse one wins.

  If there is none, the two candidates are mistaken for each other.

  Args:
    asked: things that the caption asks for.
    shown: things of each candidate.

  Raises ValueError if the candidates are equally good.
  """

  def total(things: Sequence[Thing]) -> int:
    return sum(language.candidate_scores(language.describe(things, asked)))

  better, worse = sorted(shown, key=total, reverse=True)
  if total(better) == total(worse):
    raise ValueError(f"the candidates are equally good for {language.caption(asked)!r}")
  readings = [[(total(seen), seen) for seen in [one, *_misread(one)]] for one in (better, worse)]
  pairs = [(b, w) for low, b in readings[0] for high, w in readings[1] if low < high]
  pairs = pairs or [(worse, better)]
  return pairs if shown[0] == better else [pair[::-1] for pair in pairs]


def _misread(things: Iterable[Thing]) -> list[Reading]:
  """All readings that are wrong by one detail; no two things in one have colour and shape alike."""
  things = tuple(things)
  readings = []
  for at, thing in enumerate(things):
    looks = [thing._replace(colour=colour) for colour in language.COLOURS]
    looks += [thing._replace(shape=shape) for shape in language.SHAPES]
    if thing.how.startswith("moves "):
      looks += [thing._replace(how=f"moves {way}") for way in language.DIRECTIONS]
    readings += [(*things[:at], look, *things[at + 1 :]) for look in looks]
    if not thing.how:
      readings.append(things[:at] + things[at + 1 :])
  for (i, one), (j, other) in itertools.combinations(enumerate(things), 2):
    if one.how != other.how:
      swapped = list(things)  # their places, turns or motions
      swapped[i], swapped[j] = other._replace(how=one.how), one._replace(how=other.how)
      readings.append(tuple(swapped))
  if {thing.how for thing in things} <= {"", *itertools.chain(*language.SIDES.values())}:
    kinds = itertools.product(language.COLOURS, language.SHAPES)  # not in a video
    readings += [(*things, Thing(*kind)) for kind in kinds]
  return [
    reading
    for reading in readings
    if reading and reading != things and len({thing[:2] for thing in reading}) == len(reading)
  ]
