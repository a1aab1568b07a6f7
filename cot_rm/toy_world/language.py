"""The words of the built-in world: captions, and judgements in the `think` grammar, both ways.

`reasoning` writes a judgement from what is to be seen; `described` reads one back; `fidelity` holds
what was read against the scene. All three work from the templates below, and so do `phrases`.
"""

import itertools
import re
from typing import NamedTuple

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = ("red", "yellow", "green", "blue", "purple")
DIRECTIONS = ("left", "right", "up", "down")
NUMBERS = ("zero", "one", "two", "three", "four", "five")
# What may follow an object: where it is of two, when it comes of two, how it moves.
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

# Scores come after the description: they then follow from words that are already there.
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
  """An object as words have it."""

  colour: str
  shape: str
  how: str = ""  # one of HOWS, or "" where the question does not ask


class Seen(NamedTuple):
  """What a judgement says of one picture or video."""

  things: tuple[Thing, ...]
  marks: tuple[bool, ...]  # "correct" after each thing: the caption, or the question, is about it
  absent: tuple[Thing, ...]  # what it says is not there; `how` is ""


class Described(NamedTuple):
  """A judgement, read back."""

  seen: tuple[Seen, ...]  # generation: of candidates 1 and 2. Understanding: of the reference
  truth: str = ""  # understanding: the answer that it comes to
  answers: tuple[tuple[str, bool], ...] = ()  # understanding: each answer as quoted, and its mark


def name(thing):
  """ "blue star moves left"."""
  return " ".join(filter(None, thing))


def caption(things):
  """ "a blue star and a yellow triangle"."""
  return " and ".join(f"a {name(thing)}" for thing in things)


def plain(answer):
  """An answer without its hedge."""
  return answer.removeprefix(f"{HEDGE} ")


def judge(things, asked):
  """What there is to say of a candidate that shows `things` where a caption asked for `asked`."""
  shown = {thing[:2] for thing in things}
  return Seen(
    things=tuple(things),
    marks=tuple(thing in asked for thing in things),
    absent=tuple(Thing(*thing[:2]) for thing in asked if thing[:2] not in shown),
  )


def scores(seen):
  """The scores of a generated candidate in the task's two dimensions.

  The first is 9 less 4 per error, at least 1. An error is a wrong thing or a missing one; a thing
  that stands in another's place is one error, not two. The second is 8, or 7 where more than two
  things crowd the picture: it never outweighs an error.
  """
  errors = max(len(seen.marks) - sum(seen.marks), len(seen.absent))
  return max(1, 9 - 4 * errors), 8 - (len(seen.things) > 2)


def answer_scores(answer, truth):
  """The scores of an answer: 9, or 5 where it is wrong; 8, or 7 where it hedges."""
  return (9 if plain(answer) == truth else 5), 8 - (plain(answer) != answer)


def generation(task, asked, shown, *, verb, exchanged=False):
  """The reference judgement of two candidates that show the things `shown`; see `scores`.

  exchanged: each candidate gets the other one's scores.
  """
  seen = [judge(things, asked) for things in shown]
  noun = MEDIUM[task.split("_")[0]]
  opening = _OPENING_GENERATION.format(
    noun=noun, verb=verb, seen1=_listed(seen[0]), seen2=_listed(seen[1])
  )
  pair = [scores(one) for one in seen]
  return _framed(task, noun, opening, pair[::-1] if exchanged else pair)


def understanding(task, things, asked, truth, responses, *, verb, conclusion, held_to=None):
  """The reference judgement of two answers about what shows `things`; see `answer_scores`.

  `asked` are those of the things that the question is about: the answer is then one step from
  what is marked. The answers are held to the truth, or to what else is given in its place.
  """
  right = truth if held_to is None else held_to
  marked = [f" {plain(one)} {CORRECT if plain(one) == right else WRONG}" for one in responses]
  opening = _OPENING_UNDERSTANDING.format(
    medium=task.split("_")[0],
    verb=verb,
    seen1=_listed(judge(things, asked)._replace(absent=())),
    conclusion=conclusion,
    truth=f" {truth}",
    answer1=marked[0],
    answer2=marked[1],
  )
  return _framed(task, "Answer", opening, [answer_scores(one, right) for one in responses])


def _listed(seen):
  marks = [CORRECT if mark else WRONG for mark in seen.marks]
  items = [f" {name(thing)} {mark}" for thing, mark in zip(seen.things, marks, strict=True)]
  return ",".join(items + [f" no {name(thing)}" for thing in seen.absent])


def _framed(task, noun, opening, pair):
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


def _templates(task):
  """Every wording of a judgement of this task, with its slots still open."""
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


def phrases(tasks):
  """The fixed stretches between the slots of the templates: each worth one token of its own.

  Digits, names of things, answers and marks are never part of one.
  """
  pieces = {
    piece
    for task in tasks
    for template in _templates(task)
    for piece in re.split(r"\{\w+\}", template)
    if len(piece) > 1
  }
  return sorted(pieces)


_KIND = rf" ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_THING = re.compile(rf"{_KIND}(?: ({'|'.join(HOWS)}))? ({CORRECT}|{WRONG})")
_ABSENT = re.compile(f" no{_KIND}")
_ANSWER = re.compile(rf" ([a-z ]+) ({CORRECT}|{WRONG})")


def described(text, task):
  """What a judgement of `task` says is to be seen, as Described; None where it cannot be read.

  Only the description is read, up to its full stop at the end of the line: scores, totals and
  verdict are the grammar's business.
  """
  medium = task.split("_")[0]
  verbs = "|".join(VERBS)
  if task.endswith("generation"):
    noun = MEDIUM[medium]
    found = re.match(
      rf"<think>\n{noun} 1 (?:{verbs})([^.\n]*)\. {noun} 2 (?:{verbs})([^.\n]*)\.\n", text
    )
    seen = [_read(listed) for listed in found.groups()] if found else [None]
    return None if None in seen else Described(tuple(seen))
  found = re.match(
    rf"<think>\nThe {medium} (?:{verbs})([^.\n]*)\. (?:{'|'.join(CONCLUSIONS)}) ([a-z ]+)\. "
    rf"Answer 1([^.,\n]*), Answer 2([^.,\n]*)\.\n",
    text,
  )
  if not found:
    return None
  seen = _read(found[1])
  answers = [_ANSWER.fullmatch(found[group]) for group in (3, 4)]
  if seen is None or None in answers:
    return None
  return Described((seen,), found[2], tuple((one[1], one[2] == CORRECT) for one in answers))


def _read(listed):
  things, marks, absent = [], [], []
  for item in listed.split(","):
    if found := _ABSENT.fullmatch(item):
      absent.append(Thing(*found.groups()))
    elif (found := _THING.fullmatch(item)) and not absent:
      things.append(Thing(found[1], found[2], found[3] or ""))
      marks.append(found[4] == CORRECT)
    else:
      return None
  return Seen(tuple(things), tuple(marks), tuple(absent))


def fidelity(text, example):
  """How true a judgement is to the scene, from 0 to 1; None for an example without a scene.

  (true statements + real things mentioned) / (statements + real things), over both candidates of a
  generation task. A statement is: a thing said to be there (true if it is, in this colour, shape,
  place and motion; the same thing said twice is true once); the mark after it (true if it says
  whether the caption, or the question, is about that thing); a thing said not to be there (true if
  the caption asks for it and it is not there); for understanding tasks the answer it comes to (true
  if it is the right one) and the mark of each answer (true if it quotes that answer and marks it
  rightly). A real thing is mentioned if a thing of its colour and shape is. A text that `described`
  cannot read is 0.
  """
  scene = example.extra.get("scene")
  if scene is None:
    return None
  said = described(text, example.task)
  if said is None:
    return 0.0
  real = [[thing_of(record) for record in picture["objects"]] for picture in scene["pictures"]]
  if example.generation and example.extra.get("swapped", False):
    real.reverse()  # the scene was drawn in the first order
  asked = [thing_of(record) for record in scene["asked"]]
  true = []
  for things, seen in zip(real, said.seen, strict=True):
    left = list(things)
    for thing in seen.things:
      true.append(thing in left)
      if thing in left:
        left.remove(thing)
    true += [mark == (thing in asked) for thing, mark in zip(seen.things, seen.marks, strict=True)]
    here, wanted = {thing[:2] for thing in things}, {thing[:2] for thing in asked}
    true += [thing[:2] in wanted - here for thing in seen.absent]
    true += [thing[:2] in {one[:2] for one in seen.things} for thing in things]  # mentioned
  if not example.generation:
    truth = scene["truth"]
    true.append(said.truth == truth)
    true += [
      quoted == plain(answer) and mark == (quoted == truth)
      for (quoted, mark), answer in zip(said.answers, example.responses, strict=True)
    ]
  return sum(true) / len(true)


def thing_of(record):
  """The Thing of an object of a scene."""
  return Thing(record["colour"], record["shape"], record["how"])
