"""One image or one video: its source, and its settings."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image

from cot_rm import registry

Kind = Literal["image", "video"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# An image: a path, a URL (file, data, http), base64, encoded bytes, a PIL image, an array ([H, W],
# [H, W, 1], [H, W, 3] or [H, W, 4]), or a record of one of these: {"bytes": ..., "path": ...}.
ImageSource = (
  str
  | os.PathLike[str]
  | bytes
  | bytearray
  | memoryview
  | Image.Image
  | np.ndarray
  | Mapping[str, object]
)
# A video: a folder of pictures, an .npy file, a video file or animated picture (its path, data URL,
# bytes, or a record with "bytes" or "path"), a sequence of images, or u8[frames, H, W, 3].
VideoSource = (
  str
  | os.PathLike[str]
  | bytes
  | Mapping[str, bytes | str | None]
  | Sequence[ImageSource]
  | np.ndarray
)

# Settings of one medium, with qwen-vl-utils' names and meaning. They take the place of the knobs of
# config.processor for it. Areas are in pixels after resizing, times in seconds.
_SIZES = ("min_pixels", "max_pixels", "resized_height", "resized_width")
MEDIA_SETTINGS: Mapping[Kind, tuple[str, ...]] = {
  "image": _SIZES,
  "video": (
    *_SIZES,
    "total_pixels",
    "nframes",
    "min_frames",
    "max_frames",
    "video_start",
    "video_end",
    "sample_fps",  # of given frames: another name of `fps`
    "raw_fps",  # of the video that given frames are from; it changes nothing
  ),
}


def media_setting_fault(kind: Kind, name: str, value: object) -> str | None:
  """What is wrong with a setting of one medium, in words; None: nothing is."""
  known = MEDIA_SETTINGS[kind]
  if name not in known:
    return f"unknown setting {name!r} of {kind}s; {registry.hint(name, known)}"
  if isinstance(value, int | float) and not isinstance(value, bool):
    if 0 < value < 2**53 or (name == "video_start" and value == 0):
      return None
  return f"{name} is {value!r}; it must be a number above 0"


@dataclasses.dataclass(frozen=True)
class Media:
  """One image or one video; the file is opened when the judge reads it.

      Media("image", "cat.png")
      Media("video", "clip.mp4")
      Media("video", ["frame0.png", "frame1.png"], fps=2.0)

  The source of an image is a path, a URL, base64, encoded bytes, a PIL image, an array or a record
  of one of these (see media.picture); that of a video is a folder of pictures, an .npy file, a
  video file (needs PyAV), a sequence of images or u8[frames, H, W, 3].

  Raises ValueError for an unknown kind or setting.
  """

  kind: Kind
  source: ImageSource | VideoSource
  # Frames per second: of given frames their rate; of a video file the rate at which it is sampled.
  # None: unknown, and as config.processor.fps says.
  fps: float | None = None
  settings: Mapping[str, float] | None = None  # of this medium, see MEDIA_SETTINGS; None: none

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise ValueError(f"Media: unknown kind {self.kind!r}; {registry.hint(self.kind, KINDS)}")
    if isinstance(self.fps, np.generic):  # of a table
      object.__setattr__(self, "fps", self.fps.item())
    settings = dict(self.settings or {})
    if any(isinstance(value, np.generic) for value in settings.values()):
      settings = {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}
      object.__setattr__(self, "settings", settings)
    for name, value in settings.items():
      if fault := media_setting_fault(self.kind, name, value):
        raise ValueError(f"Media: {fault}")
