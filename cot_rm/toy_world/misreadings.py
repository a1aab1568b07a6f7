"""What questions of the built-in world come to, from what is seen, rightly or wrongly.

A wrong reading is a right one of another scene: its answer follows from what it says it sees.
"""

import itertools
import re

from cot_rm.toy_world import language

_COLOUR, _SHAPE = (f"({'|'.join(words)})" for words in (language.COLOURS, language.SHAPES))
_CAPTION = re.compile(rf"a {_COLOUR} {_SHAPE}(?: ({'|'.join(language.HOWS)}))?")
_SIDE = re.compile(
  rf"Is the {_COLOUR} {_SHAPE} ({'|'.join(language.SIDES)}) the {_COLOUR} {_SHAPE}\?"
)
_NUMBER = re.compile(rf"How many (?:{_COLOUR} shapes|{_SHAPE}s) are there\?")


def answer(question, things):
  """The answer to a question of the world about what shows `things`; None where there is none."""
  asked = fitting(question, things)
  if _NUMBER.fullmatch(question):
    return language.NUMBERS[len(asked)]
  if found := _SIDE.fullmatch(question):
    here = {thing[:2]: thing.how for thing in things}
    sides = tuple(here.get(pair) for pair in (found.group(1, 2), found.group(4, 5)))
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


def fitting(question, things):
  """Those of `things` that a question is about: that it counts, or asks for the look of.

  Where it asks for a place, those that are in the place that it names.
  """
  pick = lambda fits: [thing for thing in things if fits(thing)]
  moves = lambda thing: thing.how.startswith("moves ")
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


def wanted(caption):
  """The things that a caption asks for. Raises ValueError on one that is not of the world."""
  found = [_CAPTION.fullmatch(piece) for piece in re.split(r" and (?=a )", caption)]
  if None in found:
    raise ValueError(f"not a caption of the built-in world: {caption!r}")
  return [language.Thing(one[1], one[2], one[3] or "") for one in found]


def answers(question, things, responses):
  """Ways to see `things` wrong, by one detail, that make the wrong one of two answers right."""
  truth = answer(question, things)
  said = [language.plain(response) for response in responses]
  if truth not in said or said[0] == said[1]:
    raise ValueError(f"{responses} to {question!r}: not one right and one wrong answer")
  (wrong,) = (one for one in said if one != truth)
  return [seen for seen in _misread(things) if answer(question, seen) == wrong]


def candidates(caption, shown):
  """Ways to see two candidates wrong, each by one detail at most, so that the worse one wins.

  Where there is none, the two are taken for each other.
  """
  total = lambda things: sum(language.scores(language.judge(things, caption)))
  better, worse = sorted(shown, key=total, reverse=True)
  if total(better) == total(worse):
    raise ValueError(f"the candidates are equally good for {language.caption(caption)!r}")
  readings = [[(total(seen), seen) for seen in [one, *_misread(one)]] for one in (better, worse)]
  pairs = [(b, w) for low, b in readings[0] for high, w in readings[1] if low < high]
  pairs = pairs or [(worse, better)]
  return pairs if shown[0] == better else [pair[::-1] for pair in pairs]


def _misread(things):
  """The ways to see things wrong by one detail; no two of the same kind at once."""
  things = tuple(things)
  ways = []
  for at, thing in enumerate(things):
    looks = [thing._replace(colour=colour) for colour in language.COLOURS]
    looks += [thing._replace(shape=shape) for shape in language.SHAPES]
    if thing.how.startswith("moves "):
      looks += [thing._replace(how=f"moves {way}") for way in language.DIRECTIONS]
    ways += [(*things[:at], look, *things[at + 1 :]) for look in looks]
    if not thing.how:
      ways.append(things[:at] + things[at + 1 :])
  for (i, one), (j, other) in itertools.combinations(enumerate(things), 2):
    if one.how != other.how:
      swapped = list(things)  # their places, their order, or which of them moves
      swapped[i], swapped[j] = other._replace(how=one.how), one._replace(how=other.how)
      ways.append(tuple(swapped))
  if {thing.how for thing in things} <= {"", *itertools.chain(*language.SIDES.values())}:
    kinds = itertools.product(language.COLOURS, language.SHAPES)  # not in a video
    ways += [(*things, language.Thing(*kind)) for kind in kinds]
  kinds = lambda some: {thing[:2] for thing in some}
  return [way for way in ways if way and way != things and len(kinds(way)) == len(way)]
