"""The built-in preference world: pictures and short videos of coloured shapes, drawn on demand.

Example i of a split is a pure function of (seed, split, i). Splits cannot leak into each other: the
exact look of an object (shape, shade, size) belongs to one split, so no picture, and no frame of a
video, can occur in two.
"""

import dataclasses
import functools
import io
import itertools
import json
import math

from PIL import Image, ImageDraw, PngImagePlugin

from cot_rm import schema
from cot_rm.prompts import brief
from cot_rm.toy_world import language, scenes

FPS = 2.0


@dataclasses.dataclass(frozen=True)
class World:
  """The knobs of the world. The last four are the weights of the families."""

  side: int = 84  # pixels a side of a picture: 56, 84 or 112, whole cells
  objects: tuple[int, int] = (1, 2)  # fewest and most in a picture; the hard split has one more
  frames: int = 4  # of a video
  frame_side: int = 56  # pixels a side of a frame, as `side`
  image_understanding: float = 0.4
  image_generation: float = 0.4
  video_understanding: float = 0.1
  video_generation: float = 0.1

  def __post_init__(self):
    for knob in ("side", "frame_side"):
      if getattr(self, knob) not in (56, 84, 112):
        raise ValueError(f"world.{knob} is {getattr(self, knob)}; it can be 56, 84 or 112")
    least, most = self.objects
    cells = (self.side // scenes.CELL) ** 2
    if not 1 <= least <= most <= cells - 2:  # the hard split adds one, an edit may add another
      raise ValueError(
        f"world.objects {self.objects} must rise, from 1 to {cells - 2} at most "
        f"in pictures of {self.side} pixels"
      )
    if self.frames < 2:
      raise ValueError(f"world.frames is {self.frames}; a video needs at least 2")
    if min(self.weights) < 0 or not sum(self.weights):
      raise ValueError(f"weights of the families {self.weights} must not be negative or all 0")

  @property
  def weights(self):
    """The weights in the order of schema.TASKS."""
    return tuple(getattr(self, task) for task in schema.TASKS)


def examples(world, split, *, seed=0, start=0, count=None):
  """Examples start, start + 1, ... of a split; without end where count is None."""
  stop = itertools.count(start) if count is None else range(start, start + count)
  return (example(world, split, index, seed=seed) for index in stop)


def example(world, split, index, *, seed=0):
  """Example `index` of a split, with pictures as PNG bytes and the scene in extra["scene"].

  Raises ValueError for a split that is not in scenes.SPLITS.
  """
  plan = scenes.plan(world, split, index, seed)
  side = world.side if plan.task.startswith("image") else world.frame_side
  return _example(plan, split, index, seed, draw=functools.partial(draw, side=side))


def _example(plan, split, index, seed, draw):
  """The Example of a plan; draw: picture of its scene -> frames."""
  drawn = [draw(picture) for picture in plan.scene["pictures"]]
  media = tuple(
    schema.Media("image", frames[0])
    if plan.task.startswith("image")
    else schema.Media("video", frames, FPS)
    for frames in drawn
  )
  return schema.Example(
    id=f"shapes-{split}-{seed}-{index}",
    source="shapes",
    task=plan.task,
    question=plan.question,
    media=media,
    responses=plan.responses,
    gold=plan.gold,
    reasoning=plan.reasoning,
    extra={"scene": plan.scene},
  )


def phrases(world):
  """The fixed phrases of the prompts and judgements of this world, for its tokenizer.

  One that a prompt holds too ends before its space, so that an answer has the same token in
  the prompt as in the judgement.
  """
  prompt = {"Caption:", "Question:", "\nAnswer 1:", "\nAnswer 2:"}
  tasks = [task for task, weight in zip(schema.TASKS, world.weights, strict=True) if weight]
  return sorted(
    prompt
    | {piece.rstrip() if piece.rstrip() in prompt else piece for piece in language.phrases(tasks)}
  )


def corpus(world, count, *, seed=0):
  """Texts to train a tokenizer on: prompt and judgement of the first `count` of the train split."""
  for index in range(count):
    plan = scenes.plan(world, "train", index, seed)
    one = _example(plan, "train", index, seed, draw=lambda picture: (b"",))  # texts need no picture
    yield from (
      part["text"]
      for message in brief.render(one)
      for part in message["content"]
      if part["type"] == "text"
    )
    yield one.reasoning


def draw(picture, side):
  """The frames of a picture of a scene, `side` pixels square, each as PNG bytes.

  Each says in its comment (a PNG's text) what the whole picture shows: teacher.py reads it. A
  model is given the pixels alone.
  """
  frames, count = [], len(picture["objects"][0]["track"])
  things = [[record[key] for key in ("colour", "shape", "how")] for record in picture["objects"]]
  for at in range(count):
    image = Image.new("RGB", (side, side), tuple(picture["background"]))
    pen = ImageDraw.Draw(image)
    for record in picture["objects"]:
      if record["track"][at] is not None:
        _shape(pen, record["shape"], *record["track"][at], record["radius"], tuple(record["rgb"]))
    out, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Comment", json.dumps({"frame": at, "frames": count, "things": things}))
    image.save(out, "PNG", compress_level=1, pnginfo=info)
    frames.append(out.getvalue())
  return tuple(frames)


def _shape(pen, shape, x, y, radius, rgb):
  if shape == "circle":
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=rgb)
  elif shape == "square":
    pen.rectangle((x - radius + 1, y - radius + 1, x + radius - 1, y + radius - 1), fill=rgb)
  elif shape == "triangle":
    pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=rgb)
  else:
    spokes = [(radius + 1 if k % 2 == 0 else 0.45 * radius, math.pi * k / 5) for k in range(10)]
    pen.polygon([(x + r * math.sin(turn), y - r * math.cos(turn)) for r, turn in spokes], fill=rgb)


def blank(example):
  """The same example with nothing in its pictures but their background."""

  def wiped(source):
    with Image.open(io.BytesIO(source)) as image:
      out = io.BytesIO()
      Image.new("RGB", image.size, image.getpixel((0, 0))).save(out, "PNG", compress_level=1)
    return out.getvalue()

  media = tuple(
    dataclasses.replace(
      one, source=wiped(one.source) if one.kind == "image" else tuple(map(wiped, one.source))
    )
    for one in example.media
  )
  return dataclasses.replace(example, media=media)


def sheet(examples, *, zoom=2):
  """A picture to look at: one line per example, its pictures beside its texts."""
  rows = []
  for one in examples:
    frames = [
      source
      for media in one.media
      for source in ((media.source,) if media.kind == "image" else media.source)
    ]
    lines = [
      f"{one.id}  gold {one.gold}",
      one.question,
      *one.responses,
      *(one.reasoning or "").split("\n")[1:2],
    ]
    rows.append(([Image.open(io.BytesIO(source)) for source in frames], "\n".join(lines)))
  heights = [zoom * max(image.height for image in images) + 8 for images, _ in rows]
  left = max(sum(zoom * image.width + 8 for image in images) for images, _ in rows)
  out = Image.new("RGB", (left + 900, sum(heights)), (200, 200, 200))
  pen, y = ImageDraw.Draw(out), 0
  for (images, text), height in zip(rows, heights, strict=True):
    x = 0
    for image in images:
      out.paste(image.resize((zoom * image.width, zoom * image.height), Image.NEAREST), (x, y))
      x += zoom * image.width + 8
    pen.text((left + 8, y + 8), text, fill=(0, 0, 0))
    y += height
  return out
