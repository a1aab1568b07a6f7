"""Opens a video of any form; frames are decoded when they are read; errors name the sample.

F frames, H height and W width in pixels.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from cot_rm.media import pictures, sources
from cot_rm.schema import BadMedia, ImageSource, VideoSource

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Video:
  """An opened video. Frames are decoded only when read."""

  count: int  # number of frames
  fps: float | None  # of those frames; None if unknown
  read: Callable[[Sequence[int]], list[Image.Image]]  # ascending frame numbers -> RGB pictures
  sizes: Callable[[Sequence[int]], set[tuple[int, int]]]  # frame numbers -> (width, height)s


def video(source: VideoSource, *, fps: float | None = None, name: str) -> Video:
  """Opens a video.

  Args:
    source: the video; the pictures of a folder are in natural order of their names.
    fps: frames per second of the given frames; None: as the file says, or unknown.
    name: the sample's name in errors.

  Raises ValueError if there is no readable frame, ImportError if PyAV is needed and missing.
  """
  if fps is not None and not fps > 0:
    raise BadMedia(f"{name}: a video of {fps} frames per second; fps must be above 0")
  frames = frame_sources(source, name=name)
  if frames is None:
    return _file(sources.local_path(source, name=name), fps, name)

  def read(numbers: Sequence[int]) -> list[Image.Image]:
    return [pictures.picture(frames[i], name=f"{name}: frame {i}") for i in numbers]

  def sizes(numbers: Sequence[int]) -> set[tuple[int, int]]:
    return {pictures.picture_size(frames[i], name=f"{name}: frame {i}") for i in numbers}

  return Video(len(frames), fps, read, sizes)


def encoded_frames(source: VideoSource, *, name: str) -> list[bytes]:
  """The frames of a video as picture files, see `encoded_picture`.

  Raises ValueError if there is no frame, or if the source is a video file: those are not
  stored.
  """
  frames = frame_sources(source, name=name)
  if frames is None:
    raise BadMedia(
      f"{name}: a video is stored frame by frame; give its frames, a folder of pictures or an "
      f".npy file, not the video file {str(source)[:80]!r}"
    )
  return [
    pictures.encoded_picture(frame, name=f"{name}: frame {i}") for i, frame in enumerate(frames)
  ]


def frame_sources(source: VideoSource, *, name: str) -> Sequence[ImageSource] | None:
  """The frames of a video, unopened; None for a video file, which must be decoded.

  Raises ValueError if the source is no video or has no frame.
  """
  if isinstance(source, np.ndarray):
    return _checked_frames(source, name)
  if isinstance(source, (list, tuple)):
    if not source:
      raise BadMedia(f"{name}: a video without frames")
    return source
  if not isinstance(source, (str, os.PathLike)):
    raise BadMedia(
      f"{name}: a video cannot be a {type(source).__name__}; give a folder, an .npy "
      "or video file, a list of pictures, or u8[frames, height, width, 3]"
    )
  path = sources.local_path(source, name=name)
  if path.is_dir():
    files = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    if not files:
      raise BadMedia(f"{name}: folder {str(path)!r}: a video without frames")
    return sorted(files, key=_natural)
  if not path.exists():
    raise BadMedia(f"{name}: video {str(path)!r} does not exist")
  if path.suffix != ".npy":
    return None
  try:
    frames = np.load(path, mmap_mode="r", allow_pickle=False)
  except pictures.UNREADABLE as error:
    raise BadMedia(f"{name}: {str(path)!r} is no readable .npy file: {error}") from error
  return _checked_frames(frames, name)


def _natural(path: pathlib.Path) -> list[str | int]:
  return [int(run) if run.isdigit() else run for run in re.split(r"(\d+)", path.name)]


def _checked_frames(frames_FHW3: np.ndarray, name: str) -> np.ndarray:
  shape = frames_FHW3.shape
  if frames_FHW3.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not frames_FHW3.size:
    raise BadMedia(
      f"{name}: a video as an array is u8[frames, height, width, 3], not "
      f"{frames_FHW3.dtype}{list(shape)}"
    )
  return frames_FHW3


def _file(path: pathlib.Path, fps: float | None, name: str) -> Video:
  try:
    import av  # an extra: only video files need it
  except ModuleNotFoundError as error:
    raise ImportError(
      f"{name}: the video file {str(path)!r} needs PyAV: "
      "pip install 'cot_rm[video]', or give a folder of pictures"
    ) from error

  try:
    with av.open(str(path)) as container:
      stream = container.streams.video[0]
      rate = fps or (float(stream.average_rate) if stream.average_rate else None)
      size = (stream.codec_context.width, stream.codec_context.height)
      # The length in the header is a guess in many containers: count the packets.
      count = sum(1 for packet in container.demux(stream) if packet.size)
  except (av.FFmpegError, IndexError) as error:
    raise BadMedia(f"{name}: {str(path)!r} is no readable video: {error}") from error
  if not count:
    raise BadMedia(f"{name}: {str(path)!r} holds no frame")

  def read(numbers: Sequence[int]) -> list[Image.Image]:
    wanted, frames = set(numbers), {}
    try:
      with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
          if number in wanted:
            frames[number] = frame.to_image()
          if len(frames) == len(wanted):
            break
    except av.FFmpegError as error:
      raise BadMedia(f"{name}: {str(path)!r} is damaged: {error}") from error
    if len(frames) < len(wanted):
      raise BadMedia(f"{name}: {str(path)!r} ends before frame {max(wanted)}")
    return [pictures.picture(frames[number], name=name) for number in numbers]

  return Video(count, rate, read, lambda numbers: {size})
