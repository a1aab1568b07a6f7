"""Pictures and videos of a prompt: sizes by the headers, then patches.

P patches, C values per patch.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from PIL import Image

from cot_rm import media, schema
from cot_rm.models.qwen2_5_vl import pixels
from cot_rm.models.qwen2_5_vl.config import VisionConfig
from cot_rm.models.qwen2_5_vl.settings import Settings
from cot_rm.schema import BadExample, BadMedia, Kind

# qwen-vl-utils' bounds, in visual tokens: of a picture, of a frame of a video, and of all frames.
PICTURE_TOKENS = (4, 16384)
FRAME_TOKENS = (128, 768)
VIDEO_TOKENS = {"qwen_vl_utils_0.0.8": 24_576.0}
NEWER_VIDEO_TOKENS = 128_000 * 0.9
PAIR = 2  # frames of a patch, in qwen-vl-utils

Size = tuple[int, int]  # height and width


@dataclasses.dataclass(frozen=True)
class Visual:
  """A picture or video as the model will see it; pixels are decoded when they are read."""

  kind: Kind
  grid: tuple[int, int, int]  # frames (pairs), rows and columns of merged patches
  seconds: float | None  # from one frame (pair) to the next; None: a picture
  sizes: tuple[Size, ...]  # to which the frames are resized, one after the other
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
    part: as media.turns makes it; may have schema.MEDIA_SETTINGS of its own, and a video `fps`.
    vision: sizes of patches.
    settings: what holds where the part has none.
    options: how media are opened.
    name: the sample's name in errors.

  Raises BadExample for a wrong setting of the part, BadMedia if it cannot be read or resized.
  """
  kind = part["type"]
  fields = _fields(part, kind, name)
  source, side = part[kind], vision.patch_size * vision.merge_size
  if kind == "image":
    source, label = media.fetched(source, name=name, options=options)
    width, height = media.picture_size(source, name=label, options=options)
    sizes, count, seconds = _picture_sizes((height, width), fields, settings, side, name), 1, None
    read = lambda: [media.picture(source, name=label, options=options)]
  else:
    video = media.video(source, fps=fields.get("fps"), name=name, options=options)
    numbers, fps = media.sampled_frames(
      video,
      fields,
      rules=settings.video,
      fps=settings.fps,
      max_frames=settings.max_frames,
      multiple=vision.temporal_patch_size,
      name=name,
    )
    found = video.sizes(numbers)
    if len(found) > 1:
      raise BadMedia(f"{name}: the frames of a video differ in size: {sorted(found)}")
    [(width, height)] = found
    count = -(-len(numbers) // vision.temporal_patch_size)
    seconds = vision.temporal_patch_size / fps
    sizes = _frame_sizes(
      *((height, width), fields, settings, side, name),
      count=len(numbers),
      is_file=video.is_file,
    )
    read = lambda: video.read(numbers)
  return Visual(kind, (count, sizes[-1][0] // side, sizes[-1][1] // side), seconds, sizes, read)


def patches(item: Visual, vision: VisionConfig, settings: Settings) -> np.ndarray:
  """The patches, u8[P, C], in raster order. Raises BadMedia if the frames cannot be read."""
  frames = item.read()
  for size in item.sizes[:-1]:
    frames = (pixels.resized(frame, size, settings.resample) for frame in frames)
  patches_PC = pixels.patches(
    pixels.resize(frames, item.sizes[-1], settings.resample),
    patch=vision.patch_size,
    merge=vision.merge_size,
    temporal=vision.temporal_patch_size,
  )
  assert len(patches_PC) == item.tokens * vision.merge_size**2, (item.grid, patches_PC.shape)
  return patches_PC


def _fields(part: media.Part, kind: Kind, name: str) -> dict[str, float]:
  """The settings of a part that have a value, checked; its other keys are not ours."""
  known = schema.MEDIA_SETTINGS[kind]
  part = {
    key: value.item() if isinstance(value, np.generic) else value for key, value in part.items()
  }
  fields = {key: part[key] for key in known if part.get(key) is not None}
  for key, value in fields.items():
    if fault := schema.media_setting_fault(kind, key, value):
      raise BadExample(f"{name}: a part of type {kind!r}: {fault}")
  if ("resized_height" in fields) != ("resized_width" in fields):
    raise BadExample(f"{name}: a part has one of resized_height and resized_width; give both")
  fps = part.get("fps") if part.get("fps") is not None else fields.get("sample_fps")
  if kind == "video" and fps is not None:
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 2**53:
      raise BadExample(f"{name}: a video of {fps!r} frames per second; fps must be above 0")
    fields["fps"] = fps
  return fields


def _picture_sizes(
  size: Size, fields: Mapping[str, float], settings: Settings, side: int, name: str
) -> tuple[Size, ...]:
  """The size to which a picture, or a frame that is treated as one, is resized."""
  if asked := _asked(fields, side, name):
    return (asked,)
  least = fields.get("min_pixels", settings.min_pixels)
  most = fields.get("max_pixels", settings.max_pixels)
  return (_resized(size, side, (least, most), name),)


def _frame_sizes(
  size: Size,
  fields: Mapping[str, float],
  settings: Settings,
  side: int,
  name: str,
  *,
  count: int,
  is_file: bool,
) -> tuple[Size, ...]:
  """The sizes to which the frames of a video are resized, one after the other.

  Source: qwen_vl_utils.vision_process.fetch_video; transformers' Qwen2VLVideoProcessor.
  """
  rules = settings.video
  if rules.mode == "flat" or (
    not is_file and rules.mode in ("qwen_vl_utils_0.0.8", "qwen_vl_utils_0.0.11")
  ):
    return _picture_sizes(size, fields, settings, side, name)
  resized = functools.partial(_resized, name=name, whole_first=rules.qwen)
  sizes: list[Size] = []
  if not is_file and rules.qwen:  # first as pictures, in multiples of two tokens
    bounds = [tokens * (2 * side) ** 2 for tokens in PICTURE_TOKENS]
    own = fields.get("min_pixels", bounds[0]), fields.get("max_pixels", bounds[1])
    size = _asked(fields, 2 * side, name) or resized(size, 2 * side, own)
    sizes.append(size)
  asked = _asked(fields, side, name)
  return (*sizes, asked or resized(size, side, _frame_bounds(fields, settings, side, count)))


def _frame_bounds(
  fields: Mapping[str, float], settings: Settings, side: int, count: int
) -> tuple[float, float]:
  """Least and largest area of a frame of a video of `count` frames."""
  rules, area = settings.video, side**2
  least, most = (tokens * area for tokens in FRAME_TOKENS)
  if not rules.qwen:
    least, most = settings.min_pixels, settings.max_pixels
  least = fields.get("min_pixels", rules.min_pixels or least)
  most = rules.max_pixels or most
  total = fields.get("total_pixels", rules.total_pixels)
  if not rules.qwen:
    most = fields.get("max_pixels", most)
    if total is not None:
      most = max(min(most, total * PAIR // count), int(least * 1.05))
    return least, most
  if total is None:
    total = VIDEO_TOKENS.get(rules.mode, NEWER_VIDEO_TOKENS) * area
  even = -(-count // PAIR) * PAIR
  most = max(min(most, total / even * PAIR), int(least * 1.05))
  if rules.mode == "qwen_vl_utils_0.0.8":
    return least, fields.get("max_pixels", most)
  return least, min(fields.get("max_pixels", most), most)


def _asked(fields: Mapping[str, float], side: int, name: str) -> Size | None:
  """The size that a part's resized_height and resized_width ask for; None: they do not."""
  if "resized_height" not in fields:
    return None
  size = int(fields["resized_height"]), int(fields["resized_width"])
  least, most = (tokens * side**2 for tokens in PICTURE_TOKENS)
  return _resized(size, side, (least, most), name, whole_first=True)


def _resized(
  size: Size, side: int, bounds: tuple[float, float], name: str, whole_first: bool = False
) -> Size:
  if min(size) < 1 or bounds[0] > bounds[1]:
    raise BadMedia(
      f"{name}: {size[1]}x{size[0]} pixels cannot be resized to an area of {bounds[0]:,.0f} to "
      f"{bounds[1]:,.0f} pixels: check min_pixels, max_pixels and the resized sides"
    )
  try:
    return pixels.smart_resize(
      *size, factor=side, min_pixels=bounds[0], max_pixels=bounds[1], whole_first=whole_first
    )
  except ValueError as error:
    raise BadMedia(f"{name}: {error}") from error
