"""The built-in preference world: pictures and short videos of coloured shapes, rendered on demand.

Example i of a split is a pure function of (seed, split, i). Splits are disjoint: the exact look of
an object (shape, shade, size) belongs to one split, so no picture or video frame occurs in two.
"""

import dataclasses
import functools
import io
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence

from PIL import Image, ImageDraw, PngImagePlugin

from cot_rm import media, schema
from cot_rm.prompts import brief
from cot_rm.schema import Example
from cot_rm.toy_world import language, scenes

FPS = 2.0


@dataclasses.dataclass(frozen=True)
class World:
  """Sizes of pictures and videos, and the weights of the four tasks.

  Raises ValueError on a value out of range.
  """

  side: int = 84  # pixels per side of a picture: 56, 84 or 112
  objects: tuple[int, int] = (1, 2)  # fewest and most per picture; the hard split has one more
  frames: int = 4  # per video
  frame_side: int = 56  # pixels per side of a video frame: 56, 84 or 112
  image_understanding: float = 0.4
  image_generation: float = 0.4
  video_understanding: float = 0.1
  video_generation: float = 0.1

  def __post_init__(self) -> None:
    for field in ("side", "frame_side"):
      if getattr(self, field) not in (56, 84, 112):
        raise ValueError(f"World: {field} is {getattr(self, field)}; it can be 56, 84 or 112")
    least, most = self.objects
    cells = (self.side // scenes.CELL) ** 2
    if not 1 <= least <= most <= cells - 2:  # the hard split adds one, an edit may add another
      raise ValueError(
        f"World: objects {self.objects} must ascend, from 1 to {cells - 2} at most "
        f"in pictures of {self.side} pixels"
      )
    if self.frames < 2:
      raise ValueError(f"World: frames is {self.frames}; a video needs at least 2")
    if min(self.weights) < 0 or not sum(self.weights):
      raise ValueError(f"World: weights of the tasks {self.weights} must not be negative or all 0")

  @property
  def weights(self) -> tuple[float, ...]:
    """The weights in the order of schema.TASKS."""
    return tuple(getattr(self, task) for task in schema.TASKS)


def examples(
  world: World, split: str, *, seed: int = 0, start: int = 0, count: int | None = None
) -> Iterator[Example]:
  """Examples start, start + 1, ... of a split; infinitely many if count is None."""
  stop = itertools.count(start) if count is None else range(start, start + count)
  return (example(world, split, index, seed=seed) for index in stop)


def example(world: World, split: str, index: int, *, seed: int = 0) -> Example:
  """Example `index` of a split, with pictures as PNG bytes and the scene in extra["scene"].

  Raises ValueError for a split that is not in draws.SPLITS.
  """
  plan = scenes.plan(world, split, index, seed)
  side = world.side if plan.task.startswith("image") else world.frame_side
  return _example(plan, f"shapes-{split}-{seed}-{index}", functools.partial(draw, side=side))


def _example(
  plan: scenes.Plan, id: str, render: Callable[[scenes.Json], tuple[bytes, ...]]
) -> Example:
  """The Example of a plan; `render` makes the frames of a picture of the scene."""
  rendered = [render(picture) for picture in plan.scene["pictures"]]
  return Example(
    id=id,
    source="shapes",
    task=plan.task,
    question=plan.question,
    media=tuple(
      schema.Media("image", frames[0])
      if plan.task.startswith("image")
      else schema.Media("video", frames, FPS)
      for frames in rendered
    ),
    responses=plan.responses,
    gold=plan.gold,
    reasoning=plan.reasoning,
    extra={"scene": plan.scene},
  )


def phrases(world: World) -> list[str]:
  """The fixed phrases of the prompts and judgements of this world, for its tokenizer.

  A phrase that is also in a prompt ends before its space, so that an answer has the same token in
  the prompt as in the judgement.
  """
  prompt = {"Caption:", "Question:", "\nAnswer 1:", "\nAnswer 2:"}
  tasks = [task for task, weight in zip(schema.TASKS, world.weights, strict=True) if weight]
  judgement = {
    text.rstrip() if text.rstrip() in prompt else text for text in language.phrases(tasks)
  }
  return sorted(prompt | judgement)


def corpus(world: World, count: int, *, seed: int = 0) -> Iterator[str]:
  """Texts for the tokenizer: prompts and judgements of the first `count` train examples."""
  for index in range(count):
    plan = scenes.plan(world, "train", index, seed)
    unrendered = _example(plan, f"train-{index}", lambda picture: (b"",))  # only texts are needed
    yield from (
      part["text"]
      for message in brief.render(unrendered)
      for part in message["content"]
      if part["type"] == "text"
    )
    yield unrendered.reasoning


def draw(picture: scenes.Json, side: int) -> tuple[bytes, ...]:
  """The frames of a picture of a scene, `side` pixels square, each as PNG bytes.

  The comment of each PNG lists the things in the whole picture, for teacher.py. A model sees only
  the pixels.
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


def _shape(
  pen: ImageDraw.ImageDraw, shape: str, x: int, y: int, radius: int, rgb: tuple[int, ...]
) -> None:
  if shape == "circle":
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=rgb)
  elif shape == "square":
    pen.rectangle((x - radius + 1, y - radius + 1, x + radius - 1, y + radius - 1), fill=rgb)
  elif shape == "triangle":
    pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=rgb)
  else:
    spokes = [(radius + 1 if k % 2 == 0 else 0.45 * radius, math.pi * k / 5) for k in range(10)]
    pen.polygon([(x + r * math.sin(turn), y - r * math.cos(turn)) for r, turn in spokes], fill=rgb)


def blank(example: Example, *, options: media.Options = media.DEFAULT) -> Example:
  """The example with each picture and frame replaced by its background: the colour of its corner.

  What the model is shown keeps its size, its frames and its times: of a video file the same frames
  are chosen. Media of every form are opened, by `options`.

  Raises BadMedia if one cannot be read.
  """
  name = f"example {example.id!r}"

  def background(image: Image.Image) -> bytes:
    out = io.BytesIO()
    media.background(image).save(out, "PNG", compress_level=1)
    return out.getvalue()

  def blanked(medium: schema.Media) -> schema.Media:
    if medium.kind == "image":
      image = media.picture(medium.source, name=name, options=options)
      return dataclasses.replace(medium, source=background(image))
    video = media.video(medium.source, fps=medium.fps, name=name, options=options)
    if video.is_file:
      return dataclasses.replace(medium, source=media.Blank(medium.source))
    frames = tuple(map(background, video.read(range(video.count))))
    return dataclasses.replace(medium, source=frames, fps=video.fps)

  return dataclasses.replace(example, media=tuple(map(blanked, example.media)))


def sheet(examples: Sequence[Example], *, zoom: int = 2) -> Image.Image:
  """An overview picture: a row per example, with its pictures and texts."""
  rows = []
  for example in examples:
    frames = [
      source
      for medium in example.media
      for source in ((medium.source,) if medium.kind == "image" else medium.source)
    ]
    lines = [
      f"{example.id}  gold {example.gold}",
      example.question,
      *example.responses,
      *(example.reasoning or "").split("\n")[1:2],
    ]
    images = [media.picture(frame, name=f"example {example.id!r}") for frame in frames]
    rows.append((images, "\n".join(lines)))
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
