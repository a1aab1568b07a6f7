"""Scenes of the built-in world, with their questions and answers, drawn at random from a seed.

A scene is plain JSON: `pictures`, `kind` (of the question), `asked` (the things of the caption, or
that the question is about) and `truth` (the right answer). A picture has a background and objects;
an object has a colour, a shape, `how` (its side, turn or motion), its exact rgb and radius, and a
track: its centre in pixels in each frame, None in frames without it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from cot_rm import schema
from cot_rm.toy_world import draws, language, misreadings
from cot_rm.toy_world.draws import Draw
from cot_rm.toy_world.language import Thing

Json = dict[str, Any]  # a scene, picture or object
Cell = tuple[float, float]  # row and column

CELL = 28  # pixels per side; one visual token of a model that merges 2 by 2 patches of 14
PAIRS = tuple(itertools.product(language.COLOURS, language.SHAPES))
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


@dataclasses.dataclass(frozen=True)
class Plan:
  """An example before its pictures are rendered."""

  task: str
  question: str
  responses: tuple[str, ...]
  gold: int
  scene: Json
  reasoning: str


def plan(world: draws.Settings, split: str, index: int, seed: int) -> Plan:
  """Plans example `index` of a split.

  Args:
    world: sizes and weights of tasks.
    split: one of draws.SPLITS.
    index: from 0.
    seed: of the world.

  Raises ValueError for an unknown split.
  """
  draw = Draw(world, split, index, seed)
  weights = np.cumsum(world.weights)
  task = schema.TASKS[int(np.searchsorted(weights, draw.rng.random() * weights[-1], "right"))]
  if task.endswith("generation"):
    return _generation(draw, task)
  return _understanding(draw, task)


def _generation(draw: Draw, task: str) -> Plan:
  video = task.startswith("video")
  asked = _event(draw) if video else _sorted(_things(draw, draw.count()))
  other = _edited_event(draw, asked) if video else _edited(draw, asked)
  gold = int(draw.rng.integers(1, 3))
  shown = [asked, other] if gold == 1 else [other, asked]
  # Each candidate has its own layout: a comparison of pixels does not reveal the error.
  pictures = [_filmed(draw, things) if video else _placed(draw, things) for things in shown]
  reasoning = language.write_generation(task, asked, shown, verb=draw.pick(language.VERBS))
  scene = _scene("caption", pictures, asked=asked)
  return Plan(task, language.caption(asked), (), gold, scene, reasoning)


def _understanding(draw: Draw, task: str) -> Plan:
  if task.startswith("video"):
    kind, question, things, truth, wrong = _video_question(draw)
    picture = _filmed(draw, things)
  else:
    kind, question, things, truth, wrong = _picture_question(draw)
    picture = _placed(draw, things)
  gold = int(draw.rng.integers(1, 3))
  answers = [f"{language.HEDGE} {one}" if draw.chance(0.2) else one for one in (truth, wrong)]
  responses = tuple(answers if gold == 1 else answers[::-1])
  asked = misreadings.relevant_things(question, things)
  reasoning = language.write_understanding(
    task,
    things,
    asked,
    truth,
    responses,
    verb=draw.pick(language.VERBS),
    conclusion=draw.pick(language.CONCLUSIONS),
  )
  scene = _scene(kind, [picture], asked=asked, truth=truth)
  return Plan(task, question, responses, gold, scene, reasoning)


def _scene(
  kind: str, pictures: list[Json], *, asked: Iterable[Thing], truth: str | None = None
) -> Json:
  return {
    "kind": kind,
    "pictures": pictures,
    "truth": truth,
    "asked": [{"colour": thing.colour, "shape": thing.shape, "how": thing.how} for thing in asked],
  }


def _things(
  draw: Draw, count: int, *, allowed: Callable[[str, str], bool] = lambda colour, shape: True
) -> list[Thing]:
  """Distinct things whose (colour, shape) is allowed."""
  pairs = [pair for pair in PAIRS if allowed(*pair)]
  return [Thing(*pair) for pair in draw.several(pairs, count)]


def _sorted(things: Iterable[Thing]) -> list[Thing]:
  """Things in the order of descriptions: by colour, then by shape.

  If sides are asked for, the thing to the left or above comes first: naming the thing at a place
  takes one look, finding the place of a thing two.
  """
  near, far = zip(*language.SIDES.values(), strict=True)
  places = (*near, *far, "")
  return sorted(things, key=lambda thing: (places.index(thing.how), PAIRS.index(thing[:2])))


def _edited(draw: Draw, asked: Sequence[Thing]) -> list[Thing]:
  """Things of a picture with 1 error, or with 2 in a fifth of the cases outside the hard split."""
  while True:
    things = list(asked)
    for _ in range(2 if not draw.hard and draw.chance(0.2) else 1):
      things = _edit(draw, things)
    if {*things} != {*asked} and len({*things}) == len(things):
      return _sorted(things)


def _edit(draw: Draw, things: list[Thing]) -> list[Thing]:
  """One error: a colour or shape changed, a thing missing or extra; hard: two colours swapped."""
  kinds = ["colour"] * 2 + ["shape"] * 2 + ["extra"] + ["missing"] * (len(things) > 1)
  kind = draw.pick(["colour", "shape", "swap"] if draw.hard else kinds)
  at, other = draw.several(range(len(things)), 2) if len(things) > 1 else (0, 0)
  if kind == "extra":
    return things + _things(draw, 1)
  if kind == "missing":
    return things[:at] + things[at + 1 :]
  things = list(things)
  if kind == "swap":
    one, two = things[at], things[other]
    things[at], things[other] = one._replace(colour=two.colour), two._replace(colour=one.colour)
  else:
    things[at] = _changed(draw, things[at], kind)
  return things


def _changed(draw: Draw, thing: Thing, field: str) -> Thing:
  options = language.COLOURS if field == "colour" else language.SHAPES
  return thing._replace(**{field: _another(draw, options, getattr(thing, field))})


def _another(draw: Draw, options: Sequence[str], one: str) -> str:
  return draw.pick([option for option in options if option != one])


def _event(draw: Draw) -> list[Thing]:
  """The things of a video: a moving one (hard: and a resting one), or two that appear in turn."""
  if draw.chance(0.5):
    mover, other = _unlike(draw)
    mover = mover._replace(how=f"moves {draw.pick(language.DIRECTIONS)}")
    return [mover, other._replace(how=language.STAYS)] if draw.hard else [mover]
  return _in_order(_unlike(draw))


def _unlike(draw: Draw) -> tuple[Thing, Thing]:
  """Two things that differ in shape and in colour."""
  (one,) = _things(draw, 1)
  return one, *_things(
    draw, 1, allowed=lambda colour, shape: colour != one.colour and shape != one.shape
  )


def _in_order(things: Iterable[Thing]) -> list[Thing]:
  return [thing._replace(how=how) for thing, how in zip(things, language.ORDER, strict=True)]


def _edited_event(draw: Draw, asked: list[Thing]) -> list[Thing]:
  """One error: order, direction or role changed, or the colour or shape of one thing."""
  if draw.chance(0.5):
    at = int(draw.rng.integers(len(asked)))
    field = draw.pick(("colour", "shape"))
    changed = _changed(draw, asked[at], field)
    if changed[:2] not in [thing[:2] for thing in asked]:
      return [changed if thing is asked[at] else thing for thing in asked]
  if asked[0].how == language.ORDER[0]:
    return _in_order(asked[::-1])
  if len(asked) == 2 and draw.chance(0.5):  # the moving and the resting thing change roles
    return [asked[1]._replace(how=asked[0].how), asked[0]._replace(how=asked[1].how)]
  way = asked[0].how.removeprefix("moves ")
  return [asked[0]._replace(how=f"moves {_another(draw, language.DIRECTIONS, way)}"), *asked[1:]]


# Kind, question, things of the picture or video, right answer, wrong answer.
Question = tuple[str, str, list[Thing], str, str]


def _picture_question(draw: Draw) -> Question:
  """A question whose two answers are equally likely without the picture."""
  kind = draw.pick(("count", "colour", "shape", "side"))
  if kind == "count":
    return _count_question(draw)
  if kind == "side":
    return _side_question(draw)
  options = language.COLOURS if kind == "colour" else language.SHAPES
  truth, wrong = draw.several(options, 2)
  if kind == "colour":
    shape = draw.pick(language.SHAPES)
    one, question = Thing(truth, shape), f"What colour is the {shape}?"
    rest = _things(draw, draw.count() - 1, allowed=lambda _, other: other != shape)
  else:
    colour = draw.pick(language.COLOURS)
    one, question = Thing(colour, truth), f"What shape is the {colour} one?"
    rest = _things(draw, draw.count() - 1, allowed=lambda other, _: other != colour)
  return kind, question, _sorted([one, *rest]), truth, wrong


def _count_question(draw: Draw) -> Question:
  # Two neighbouring numbers first, then the right one: the question says nothing about the answer.
  most = draw.world.objects[1] + draw.hard
  low = int(draw.rng.integers(min(most, len(language.SHAPES))))
  right, wrong = (low, low + 1) if draw.chance(0.5) else (low + 1, low)
  field = draw.pick((0, 1))
  word = draw.pick((language.COLOURS, language.SHAPES)[field])
  total = draw.count(least=right)
  counted = _things(draw, right, allowed=lambda *pair: pair[field] == word)
  rest = _things(draw, total - right, allowed=lambda *pair: pair[field] != word)
  question = f"How many {word} shapes are there?" if field == 0 else f"How many {word}s are there?"
  return (
    "count",
    question,
    _sorted(counted + rest),
    language.NUMBERS[right],
    language.NUMBERS[wrong],
  )


def _side_question(draw: Draw) -> Question:
  relation, (near, far) = draw.pick(tuple(language.SIDES.items()))
  things = _things(draw, draw.count(least=2))
  truth, wrong = ("yes", "no") if draw.chance(0.5) else ("no", "yes")
  hows = (near, far) if truth == "yes" else (far, near)
  question = (
    f"Is the {language.thing_name(things[0])} {relation} the {language.thing_name(things[1])}?"
  )
  things[:2] = [thing._replace(how=how) for thing, how in zip(things[:2], hows, strict=True)]
  return "side", question, _sorted(things), truth, wrong


def _video_question(draw: Draw) -> Question:
  things = _event(draw)
  if things[0].how == language.ORDER[0]:
    truth, wrong = (language.thing_name(thing._replace(how="")) for thing in things)
    return "order", "Which appears first?", things, truth, wrong
  mover = things[0]
  kind = draw.pick(("direction", "direction", "colour", "shape"))
  if kind == "direction":
    truth = mover.how.removeprefix("moves ")
    wrong = OPPOSITE[truth] if draw.hard else _another(draw, language.DIRECTIONS, truth)
    return kind, f"Which way does the {mover.shape} move?", things, truth, wrong
  if kind == "colour":
    return (
      kind,
      "What colour is the shape that moves?",
      things,
      mover.colour,
      _another(draw, language.COLOURS, mover.colour),
    )
  return (
    kind,
    "What shape moves?",
    things,
    mover.shape,
    _another(draw, language.SHAPES, mover.shape),
  )


def _placed(draw: Draw, things: Sequence[Thing]) -> Json:
  """A picture of a scene, with each thing in its own cell, on its side."""
  grid = draw.world.side // CELL
  cells = [divmod(int(at), grid) for at in draw.rng.permutation(grid * grid)]
  # Sides are the outermost rows or columns; in the hard split, any two different ones.
  near, far = sorted(draw.several(range(grid), 2)) if draw.hard else (0, grid - 1)
  lines = {"left": (1, near), "right": (1, far), "above": (0, near), "below": (0, far)}
  taken = {}
  for thing in sorted(things, key=lambda thing: not thing.how):  # things with a side first
    axis, line = lines.get(thing.how, (0, None))
    taken[thing] = next(
      cell for cell in cells if cell not in taken.values() and line in (None, cell[axis])
    )
  return _picture(draw, [(thing, [taken[thing]]) for thing in things])


def _filmed(draw: Draw, things: Sequence[Thing]) -> Json:
  """A video of a scene: a thing's track has None in the frames before it appears."""
  frames, last = draw.world.frames, draw.world.frame_side // CELL - 1
  cells = draw.several([divmod(at, last + 1) for at in range((last + 1) ** 2)], 2)
  if things[0].how == language.ORDER[0]:
    late = frames // 2
    return _picture(
      draw,
      [(things[0], [cells[0]] * frames), (things[1], [None] * late + [cells[1]] * (frames - late))],
    )
  lane, other = draw.several(range(last + 1), 2)
  # Motion starts and stops smoothly: the largest steps are between the middle frames.
  steps = [at / (frames - 1) for at in range(frames)]
  steps = [last * step**3 * (step * (6 * step - 15) + 10) for step in steps]
  way = things[0].how.removeprefix("moves ")
  steps = steps if way in ("right", "down") else steps[::-1]
  across = way in ("left", "right")
  track = [(lane, step) if across else (step, lane) for step in steps]
  tracks = [(things[0], track)]
  for thing in things[1:]:  # a resting thing, in another lane
    along = int(draw.rng.integers(last + 1))
    tracks.append((thing, [(other, along) if across else (along, other)] * frames))
  return _picture(draw, tracks)


def _picture(draw: Draw, tracks: Iterable[tuple[Thing, list[Cell | None]]]) -> Json:
  objects = []
  for thing, track in tracks:
    rgb, radius = draw.look(thing.shape, thing.colour)
    margin = CELL // 2 - 1 - radius
    dx, dy = (int(offset) for offset in draw.rng.integers(-margin, margin + 1, 2))
    objects.append(
      {
        "colour": thing.colour,
        "shape": thing.shape,
        "how": thing.how,
        "rgb": rgb,
        "radius": radius,
        "track": [
          None
          if cell is None
          else [round((cell[1] + 0.5) * CELL) + dx, round((cell[0] + 0.5) * CELL) + dy]
          for cell in track
        ],
      }
    )
  return {
    "background": [int(level) for level in draw.rng.integers(245, 256, 3)],
    "objects": objects,
  }
