"""What happens in the built-in world: scenes, questions and answers, one example a seed.

A scene is plain JSON: `pictures` (a background and objects; an object has a colour, a shape, how it
stands or moves, its exact rgb and radius, and a track: its centre in pixels in each frame, None
where it is not there), `kind`, `asked` (the things of the caption) and `truth` (the right answer).
"""

import dataclasses
import itertools
import zlib

import numpy as np

from cot_rm import schema
from cot_rm.toy_world import language, misreadings

CELL = 28  # pixels a side; one visual token of a model with patches of 14 merged 2 by 2
# Of 8 parts that an object's look may fall in, those of each split; its place here seeds the split.
SPLITS = {"train": (0, 1, 2, 3), "heldout": (4, 5), "hard": (6,), "check": (7,)}
RGB = {
  "red": (220, 35, 35),
  "yellow": (240, 200, 25),
  "green": (35, 160, 55),
  "blue": (40, 85, 225),
  "purple": (165, 45, 190),
}
SHADE = 10  # a shade differs from its colour by at most this in each channel
RADII = (10, 11, 12)
PAIRS = tuple(itertools.product(language.COLOURS, language.SHAPES))
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


@dataclasses.dataclass(frozen=True)
class Plan:
  """An example before it is drawn."""

  task: str
  question: str
  responses: tuple[str, ...]
  gold: int
  scene: dict  # plain JSON: pictures (background, objects with their tracks), asked, truth, kind
  reasoning: str


class _Hand:
  """The random choices of one example: its generator, and what the split allows."""

  def __init__(self, world, split, index, seed):
    if split not in SPLITS:
      raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    self.rng = np.random.default_rng((seed, list(SPLITS).index(split), index))
    self.hard = split == "hard"
    self._parts = SPLITS[split]
    self.world = world

  def pick(self, options):
    return options[self.rng.integers(len(options))]

  def chance(self, probability):
    return self.rng.random() < probability

  def several(self, options, count):
    return [options[at] for at in self.rng.permutation(len(options))[:count]]

  def count(self, least=1):
    low, high = self.world.objects
    low, high = (max(2, low), high + 1) if self.hard else (low, high)
    return int(self.rng.integers(max(low, least), max(high, least) + 1))

  def look(self, shape, colour):
    """Shade and size of an object, drawn until they fall in this split's parts."""
    span = 2 * SHADE + 1
    while True:
      code, radius = divmod(int(self.rng.integers(span**3 * len(RADII))), len(RADII))
      rgb = [base + code // span**at % span - SHADE for at, base in enumerate(RGB[colour])]
      look = f"{shape} {rgb} {RADII[radius]}"
      if zlib.crc32(look.encode()) % 8 in self._parts:
        return rgb, RADII[radius]


def plan(world, split, index, seed):
  """What example `index` of a split is, before it is drawn. `world`: a shapes.World."""
  hand = _Hand(world, split, index, seed)
  weights = np.cumsum(world.weights)
  task = schema.TASKS[int(np.searchsorted(weights, hand.rng.random() * weights[-1], "right"))]
  if task.endswith("generation"):
    return _generation(hand, task)
  return _understanding(hand, task)


def _generation(hand, task):
  video = task.startswith("video")
  asked = _event(hand) if video else _sorted(_things(hand, hand.count()))
  other = _edited_event(hand, asked) if video else _edited(hand, asked)
  gold = int(hand.rng.integers(1, 3))
  shown = [asked, other] if gold == 1 else [other, asked]
  # Each candidate has a layout of its own: they cannot be told apart by comparing pixels.
  pictures = [_filmed(hand, things) if video else _placed(hand, things) for things in shown]
  reasoning = language.generation(task, asked, shown, verb=hand.pick(language.VERBS))
  scene = _scene("caption", pictures, asked=asked)
  return Plan(task, language.caption(asked), (), gold, scene, reasoning)


def _understanding(hand, task):
  if task.startswith("video"):
    kind, question, things, truth, wrong = _video_question(hand)
    picture = _filmed(hand, things)
  else:
    kind, question, things, truth, wrong = _picture_question(hand)
    picture = _placed(hand, things)
  gold = int(hand.rng.integers(1, 3))
  said = [f"{language.HEDGE} {one}" if hand.chance(0.2) else one for one in (truth, wrong)]
  responses = tuple(said if gold == 1 else said[::-1])
  asked = misreadings.fitting(question, things)
  reasoning = language.understanding(
    task,
    things,
    asked,
    truth,
    responses,
    verb=hand.pick(language.VERBS),
    conclusion=hand.pick(language.CONCLUSIONS),
  )
  scene = _scene(kind, [picture], asked=asked, truth=truth)
  return Plan(task, question, responses, gold, scene, reasoning)


def _scene(kind, pictures, *, asked, truth=None):
  return {
    "kind": kind,
    "pictures": pictures,
    "truth": truth,
    "asked": [{"colour": thing.colour, "shape": thing.shape, "how": thing.how} for thing in asked],
  }


def _things(hand, count, *, allowed=lambda colour, shape: True):
  pairs = [pair for pair in PAIRS if allowed(*pair)]
  return [language.Thing(*pair) for pair in hand.several(pairs, count)]


def _sorted(things):
  """In the order that descriptions keep: by colour, then by shape, whatever their places.

  Where sides are asked for, what stands to the left or above comes first, as one reads: to say
  what stands there is one look, to say where a thing stands takes two.
  """
  near, far = zip(*language.SIDES.values(), strict=True)
  places = (*near, *far, "")
  return sorted(things, key=lambda thing: (places.index(thing.how), PAIRS.index(thing[:2])))


def _edited(hand, asked):
  """What a picture shows that has 1 (or, not in the hard split, at times 2) errors."""
  while True:
    things = list(asked)
    for _ in range(2 if not hand.hard and hand.chance(0.2) else 1):
      things = _edit(hand, things)
    if {*things} != {*asked} and len({*things}) == len(things):
      return _sorted(things)


def _edit(hand, things):
  """One error: another colour or shape, one missing or too many; hard: two swap their colours."""
  kinds = ["colour"] * 2 + ["shape"] * 2 + ["extra"] + ["missing"] * (len(things) > 1)
  kind = hand.pick(["colour", "shape", "swap"] if hand.hard else kinds)
  at, with_ = hand.several(range(len(things)), 2) if len(things) > 1 else (0, 0)
  if kind == "extra":
    return things + _things(hand, 1)
  if kind == "missing":
    return things[:at] + things[at + 1 :]
  things = list(things)
  if kind == "swap":
    one, two = things[at], things[with_]
    things[at], things[with_] = one._replace(colour=two.colour), two._replace(colour=one.colour)
  else:
    things[at] = _changed(hand, things[at], kind)
  return things


def _changed(hand, thing, field):
  options = language.COLOURS if field == "colour" else language.SHAPES
  return thing._replace(**{field: _another(hand, options, getattr(thing, field))})


def _another(hand, options, one):
  return hand.pick([option for option in options if option != one])


def _event(hand):
  """The things of a video: one that moves (hard: and one that stays), or one, then another."""
  if hand.chance(0.5):
    mover, other = _unlike(hand)
    mover = mover._replace(how=f"moves {hand.pick(language.DIRECTIONS)}")
    return [mover, other._replace(how=language.STAYS)] if hand.hard else [mover]
  return _in_order(_unlike(hand))


def _unlike(hand):
  """Two things that differ in shape and in colour."""
  (one,) = _things(hand, 1)
  return one, *_things(
    hand, 1, allowed=lambda colour, shape: colour != one.colour and shape != one.shape
  )


def _in_order(things):
  return [thing._replace(how=how) for thing, how in zip(things, language.ORDER, strict=True)]


def _edited_event(hand, asked):
  """One error: another order, direction or role, or another colour or shape of one thing."""
  if hand.chance(0.5):
    at = int(hand.rng.integers(len(asked)))
    field = hand.pick(("colour", "shape"))
    changed = _changed(hand, asked[at], field)
    if changed[:2] not in [thing[:2] for thing in asked]:
      return [changed if thing is asked[at] else thing for thing in asked]
  if asked[0].how == language.ORDER[0]:
    return _in_order(asked[::-1])
  if len(asked) == 2 and hand.chance(0.5):  # who moves and who stays
    return [asked[1]._replace(how=asked[0].how), asked[0]._replace(how=asked[1].how)]
  way = asked[0].how.removeprefix("moves ")
  return [asked[0]._replace(how=f"moves {_another(hand, language.DIRECTIONS, way)}"), *asked[1:]]


def _picture_question(hand):
  """Kind, question, things, right answer and wrong answer; either answer is as likely without the
  picture.
  """
  kind = hand.pick(("count", "colour", "shape", "side"))
  if kind == "count":
    return _count_question(hand)
  if kind == "side":
    return _side_question(hand)
  options = language.COLOURS if kind == "colour" else language.SHAPES
  truth, wrong = hand.several(options, 2)
  if kind == "colour":
    shape = hand.pick(language.SHAPES)
    one, question = language.Thing(truth, shape), f"What colour is the {shape}?"
    rest = _things(hand, hand.count() - 1, allowed=lambda _, other: other != shape)
  else:
    colour = hand.pick(language.COLOURS)
    one, question = language.Thing(colour, truth), f"What shape is the {colour} one?"
    rest = _things(hand, hand.count() - 1, allowed=lambda other, _: other != colour)
  return kind, question, _sorted([one, *rest]), truth, wrong


def _count_question(hand):
  # Two neighbouring numbers first, then which is right: the question tells nothing of the answer.
  most = hand.world.objects[1] + hand.hard
  low = int(hand.rng.integers(min(most, len(language.SHAPES))))
  right, wrong = (low, low + 1) if hand.chance(0.5) else (low + 1, low)
  field = hand.pick((0, 1))
  word = hand.pick((language.COLOURS, language.SHAPES)[field])
  total = hand.count(least=right)
  counted = _things(hand, right, allowed=lambda *pair: pair[field] == word)
  rest = _things(hand, total - right, allowed=lambda *pair: pair[field] != word)
  question = f"How many {word} shapes are there?" if field == 0 else f"How many {word}s are there?"
  return (
    "count",
    question,
    _sorted(counted + rest),
    language.NUMBERS[right],
    language.NUMBERS[wrong],
  )


def _side_question(hand):
  relation, (near, far) = hand.pick(tuple(language.SIDES.items()))
  things = _things(hand, hand.count(least=2))
  truth, wrong = ("yes", "no") if hand.chance(0.5) else ("no", "yes")
  hows = (near, far) if truth == "yes" else (far, near)
  question = f"Is the {language.name(things[0])} {relation} the {language.name(things[1])}?"
  things[:2] = [thing._replace(how=how) for thing, how in zip(things[:2], hows, strict=True)]
  return "side", question, _sorted(things), truth, wrong


def _video_question(hand):
  things = _event(hand)
  if things[0].how == language.ORDER[0]:
    truth, wrong = (language.name(thing._replace(how="")) for thing in things)
    return "order", "Which appears first?", things, truth, wrong
  mover = things[0]
  kind = hand.pick(("direction", "direction", "colour", "shape"))
  if kind == "direction":
    truth = mover.how.removeprefix("moves ")
    wrong = OPPOSITE[truth] if hand.hard else _another(hand, language.DIRECTIONS, truth)
    return kind, f"Which way does the {mover.shape} move?", things, truth, wrong
  if kind == "colour":
    return (
      kind,
      "What colour is the shape that moves?",
      things,
      mover.colour,
      _another(hand, language.COLOURS, mover.colour),
    )
  return (
    kind,
    "What shape moves?",
    things,
    mover.shape,
    _another(hand, language.SHAPES, mover.shape),
  )


def _placed(hand, things):
  """A picture of a scene: the things in cells of their own, on the sides that they name."""
  grid = hand.world.side // CELL
  cells = [divmod(int(at), grid) for at in hand.rng.permutation(grid * grid)]
  # Sides are the outermost rows or columns; in the hard split any two that differ will do.
  near, far = sorted(hand.several(range(grid), 2)) if hand.hard else (0, grid - 1)
  lines = {"left": (1, near), "right": (1, far), "above": (0, near), "below": (0, far)}
  taken = {}
  for thing in sorted(things, key=lambda thing: not thing.how):  # those that are bound come first
    axis, line = lines.get(thing.how, (0, None))
    taken[thing] = next(
      cell for cell in cells if cell not in taken.values() and line in (None, cell[axis])
    )
  return _picture(hand, [(thing, [taken[thing]]) for thing in things])


def _filmed(hand, things):
  """A video of a scene: the cells of each thing, frame by frame; None before it appears."""
  frames, last = hand.world.frames, hand.world.frame_side // CELL - 1
  cells = hand.several([divmod(at, last + 1) for at in range((last + 1) ** 2)], 2)
  if things[0].how == language.ORDER[0]:
    late = frames // 2
    return _picture(
      hand,
      [(things[0], [cells[0]] * frames), (things[1], [None] * late + [cells[1]] * (frames - late))],
    )
  lane, other = hand.several(range(last + 1), 2)
  # It starts and stops gently: most of the way is made between the middle frames.
  steps = [at / (frames - 1) for at in range(frames)]
  steps = [last * step**3 * (step * (6 * step - 15) + 10) for step in steps]
  way = things[0].how.removeprefix("moves ")
  steps = steps if way in ("right", "down") else steps[::-1]
  across = way in ("left", "right")
  track = [(lane, step) if across else (step, lane) for step in steps]
  tracks = [(things[0], track)]
  for thing in things[1:]:  # it stays, out of the way
    along = int(hand.rng.integers(last + 1))
    tracks.append((thing, [(other, along) if across else (along, other)] * frames))
  return _picture(hand, tracks)


def _picture(hand, tracks):
  objects = []
  for thing, track in tracks:
    rgb, radius = hand.look(thing.shape, thing.colour)
    room = CELL // 2 - 1 - radius
    dx, dy = (int(offset) for offset in hand.rng.integers(-room, room + 1, 2))
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
    "background": [int(level) for level in hand.rng.integers(245, 256, 3)],
    "objects": objects,
  }
