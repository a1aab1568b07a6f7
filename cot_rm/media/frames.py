"""Which frames of a video the model sees, by the rules of qwen-vl-utils or transformers."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from absl import logging

from cot_rm import registry
from cot_rm.media import float_ranges
from cot_rm.media.videos import Video
from cot_rm.schema import BadMedia

Mode = Literal[
  "qwen_vl_utils", "qwen_vl_utils_0.0.11", "qwen_vl_utils_0.0.8", "transformers", "flat"
]
MODES: tuple[Mode, ...] = get_args(Mode)
FACTOR = 2  # qwen-vl-utils: frames of a patch
MIN_FRAMES = 4  # the mode "flat" never thins a video below this
# Fields of a part that choose among the frames of a file.
CHOICES = ("nframes", "min_frames", "max_frames", "video_start", "video_end")


@dataclasses.dataclass(frozen=True)
class VideoRules:
  """Whose rules choose the frames of a video and bound their size.

  The modes:
    qwen_vl_utils: qwen-vl-utils 0.0.12 to 0.0.14. A file is sampled at a rate; frames that are
      given are all shown. A frame has 128 to 768 visual tokens, fewer in a long video, so that all
      have 115,200 together at most; frames that are given are first resized as pictures whose sides
      are multiples of two tokens.
    qwen_vl_utils_0.0.11: 0.0.9 to 0.0.11. Frames that are given have the bounds of pictures.
    qwen_vl_utils_0.0.8: 0.0.8. As 0.0.11, but the number of frames is rounded up or down, all have
      24,576 tokens together, and a part's own max_pixels has no bound. Here video_start and
      video_end choose in this mode too, which 0.0.8 refused.
    transformers: transformers 5's Qwen2VLVideoProcessor: frames from the first on at even steps.
      Bounds, min_frames, max_frames and fps that nothing else sets are those of the checkpoint's
      settings of videos, or else of pictures.
    flat: as pictures, and as older versions of this project: frames that are given are sampled too.

  Raises ValueError on a value out of range.
  """

  mode: Mode = "qwen_vl_utils"
  min_pixels: int | None = None  # least area of a frame after resizing; None: the mode's
  max_pixels: int | None = None  # largest area; None: the mode's
  total_pixels: int | None = None  # of every second frame of a video together; None: the mode's
  min_frames: int = 4  # sampled frames of a video, if it has as many

  def __post_init__(self) -> None:
    if self.mode not in MODES:
      raise ValueError(
        f"config.processor.video.mode is {self.mode!r}; {registry.hint(self.mode, MODES)}"
      )
    for name in ("min_pixels", "max_pixels", "total_pixels", "min_frames"):
      value = getattr(self, name)
      if value is not None and not value > 0:
        raise ValueError(f"config.processor.video.{name} is {value}; it must be above 0")
    if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
      raise ValueError(
        f"config.processor.video: min_pixels {self.min_pixels:,} > max_pixels {self.max_pixels:,}"
      )

  @property
  def qwen(self) -> bool:
    """Whether the rules are of a version of qwen-vl-utils."""
    return self.mode.startswith("qwen")


def sampled_frames(
  video: Video,
  fields: Mapping[str, float],
  *,
  rules: VideoRules,
  fps: float,
  max_frames: int,
  multiple: int,
  name: str,
) -> tuple[list[int], float]:
  """Chooses the frames of a video that the model sees.

  Args:
    video: an opened video.
    fields: of its part: CHOICES, and `fps`, the rate at which a file is sampled.
    rules: see VideoRules.
    fps: rate where the part has none; and that of given frames whose rate is unknown.
    max_frames: largest number of frames where the part has none.
    multiple: frames of a patch, the model's temporal patch size.
    name: the sample's name in errors.

  Returns:
    (indices of the frames from 0, frames per second of the frames chosen).

  Raises BadMedia if the fields ask for frames that the video has not, ValueError if max_frames is
  less than `multiple`.
  """
  given = [field for field in CHOICES if fields.get(field) is not None]
  rate = (fields.get("fps") or fps) if video.is_file else fps
  if rules.mode == "flat" and not given:
    return sample_frames(video.count, video.fps, fps=rate, max_frames=max_frames, multiple=multiple)
  own_fps = video.fps or rate
  if not video.is_file and rules.mode != "flat":
    if given:
      logging.log_first_n(
        logging.WARNING,
        "%s: frames that are given are all shown, as by qwen-vl-utils: %s has no effect",
        1,
        *(name, ", ".join(given)),
      )
    return list(range(video.count)), own_fps
  start, end = frame_range(video.count, own_fps, fields, name)
  total = end - start + 1
  if video.is_file and None not in (fields.get("fps"), fields.get("nframes")):
    raise BadMedia(f"{name}: a video part has both fps and nframes; take one out")
  number, asked = _number(total, total / own_fps * rate, fields, rules, max_frames)
  if total < FACTOR:
    raise BadMedia(
      f"{name}: a video of {total} frame; {FACTOR} are needed at least: give it as a picture"
    )
  if not FACTOR <= number <= total:
    raise BadMedia(
      f"{name}: of a video of {total:,} frames {number} are to be shown ({asked}): {FACTOR} to "
      f"{total:,} can be"
    )
  if rules.mode == "transformers":
    places = start + float_ranges.arange(total, total / number).astype(int)
  else:  # ties go to the even frame, as torch.round does
    places = float_ranges.linspace(start, end, number).round().astype(int)
  chosen: list[int] = places.tolist()
  return chosen, len(chosen) / total * own_fps


def frame_range(
  count: int, own_fps: float, fields: Mapping[str, float], name: str
) -> tuple[int, int]:
  """The first and the last frame between a part's video_start and video_end, in seconds.

  Source: qwen_vl_utils.vision_process.calculate_video_frame_range.
  """
  begin, until = fields.get("video_start"), fields.get("video_end")
  if begin is None and until is None:
    return 0, count - 1
  seconds = count / own_fps
  first = 0 if begin is None else math.ceil(max(0.0, min(begin, seconds)) * own_fps)
  last = count - 1
  if until is not None:
    last = min(math.floor(max(0.0, min(until, seconds)) * own_fps), count - 1)
  if first >= last:
    raise BadMedia(
      f"{name}: video_start {begin} and video_end {until} leave no two frames of a video of "
      f"{seconds:.6g} seconds ({count:,} frames)"
    )
  return first, last


def _number(
  total: int, wanted: float, fields: Mapping[str, float], rules: VideoRules, max_frames: int
) -> tuple[int, str]:
  """(how many of `total` frames are chosen, why); `wanted` is as many as the rate asks for.

  Source: qwen_vl_utils.vision_process.smart_nframes, transformers' Qwen2VLVideoProcessor.
  """
  if (nframes := fields.get("nframes")) is not None:
    return round(nframes / FACTOR) * FACTOR, f"nframes {nframes:g}"
  least, most = fields.get("min_frames"), fields.get("max_frames")
  least = rules.min_frames if least is None else least
  most = min(max_frames, total) if most is None else most
  if rules.mode == "transformers":
    most = min(most, total)
  else:
    least = math.ceil(least / FACTOR) * FACTOR
  most = math.floor(most / FACTOR) * FACTOR
  if rules.mode == "qwen_vl_utils_0.0.8":
    number = round(min(max(wanted, least), most) / FACTOR) * FACTOR
  else:
    number = math.floor(min(max(wanted, least), most, total) / FACTOR) * FACTOR
  return number, f"{wanted:.3g} by fps, at least {least:g}, at most {most:g}, in pairs"


def sample_frames(
  count: int, source_fps: float | None, *, fps: float, max_frames: int, multiple: int
) -> tuple[list[int], float]:
  """Chooses frames as the mode "flat" does: at most `fps` per second and `max_frames`.

  All frames are kept if that satisfies both limits. Otherwise as many as the limits allow are kept,
  evenly spaced from the first to the last; their number is a multiple of `multiple`, and `fps` does
  not lower it below MIN_FRAMES (Qwen's rule).
  Source: qwen_vl_utils.vision_process.smart_nframes.

  Args:
    count: number of frames of the video.
    source_fps: frames per second of the video; None: unknown, taken to be `fps`.
    fps: largest number of frames per second that is kept.
    max_frames: largest number of frames that is kept.
    multiple: frames of a patch, the model's temporal patch size.

  Returns:
    (indices of the frames from 0, frames per second of the frames kept).

  Raises ValueError if max_frames is less than `multiple`.
  """
  source_fps = source_fps or fps
  most = max_frames // multiple * multiple
  if most < multiple:
    raise ValueError(
      f"max_frames is {max_frames} (config.processor.max_frames), less than the {multiple} frames "
      f"of a patch; raise it"
    )
  wanted = max(count / source_fps * fps, MIN_FRAMES)
  if wanted >= count and count <= most:
    return list(range(count)), source_fps
  number = int(min(wanted, most, count)) // multiple * multiple
  # Ties go to the even frame, as torch.round does.
  return np.linspace(0, count - 1, number).round().astype(int).tolist(), number / count * source_fps
