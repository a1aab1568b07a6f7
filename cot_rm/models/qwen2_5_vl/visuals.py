"""Pictures and videos of a prompt: sizes by the headers, then patches.

P patches, C values per patch.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

from cot_rm import media
from cot_rm.models.qwen2_5_vl import pixels
from cot_rm.models.qwen2_5_vl.config import VisionConfig
from cot_rm.models.qwen2_5_vl.settings import Settings
from cot_rm.schema import BadMedia, Kind


@dataclasses.dataclass(frozen=True)
class Visual:
  """A picture or video as the model will see it; pixels are decoded when they are read."""

  kind: Kind
  grid: tuple[int, int, int]  # frames (pairs), rows and columns of merged patches
  seconds: float | None  # from one frame (pair) to the next; None: a picture
  size: tuple[int, int]  # height and width after resizing
  read: Callable[[], Iterable[Image.Image]]  # the frames, before resizing

  @property
  def tokens(self) -> int:
    """Number of merged patches."""
    return self.grid[0] * self.grid[1] * self.grid[2]


def visual(
  part: media.Part, vision: VisionConfig, settings: Settings, options: media.Options, name: str
) -> Visual:
  """The picture or video of a part, by its header alone.

  Args:
    part: as media.turns makes it; may have its own bounds.
    vision: sizes of patches.
    settings: bounds where the part has none.
    options: how media are opened.
    name: the sample's name in errors.

  Raises BadMedia if it cannot be read or resized.
  """
  kind = part["type"]
  source = part[kind]
  if kind == "image":
    size = media.picture_size(source, name=name, options=options)
    sizes, count, seconds = {size}, 1, None
    read = lambda: [media.picture(source, name=name, options=options)]
  else:
    video = media.video(source, fps=part.get("fps"), name=name, options=options)
    numbers, fps = media.sample_frames(
      video.count,
      video.fps,
      fps=settings.fps,
      max_frames=settings.max_frames,
      multiple=vision.temporal_patch_size,
    )
    sizes, count = video.sizes(numbers), -(-len(numbers) // vision.temporal_patch_size)
    seconds = vision.temporal_patch_size / fps
    read = lambda: video.read(numbers)
  if len(sizes) > 1:
    raise BadMedia(f"{name}: the frames of a video differ in size: {sorted(sizes)}")
  [(width, height)] = sizes
  side = vision.patch_size * vision.merge_size
  try:
    size = pixels.smart_resize(
      height,
      width,
      factor=side,
      min_pixels=part.get("min_pixels", settings.min_pixels),
      max_pixels=part.get("max_pixels", settings.max_pixels),
    )
  except ValueError as error:
    raise BadMedia(f"{name}: {error}") from error
  return Visual(kind, (count, size[0] // side, size[1] // side), seconds, size, read)


def patches(item: Visual, vision: VisionConfig, settings: Settings) -> np.ndarray:
  """The patches, u8[P, C], in raster order. Raises BadMedia if the frames cannot be read."""
  patches_PC = pixels.patches(
    pixels.resize(item.read(), item.size, settings.resample),
    patch=vision.patch_size,
    merge=vision.merge_size,
    temporal=vision.temporal_patch_size,
  )
  assert len(patches_PC) == item.tokens * vision.merge_size**2, (item.grid, patches_PC.shape)
  return patches_PC
