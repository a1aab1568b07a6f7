"""Opens a video of any form; frames are decoded when they are read; errors name the sample.

F frames, H height and W width in pixels.
"""

import dataclasses
import io
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cot_rm import file_kinds
from cot_rm.media import animations, decoders, fetching, pictures, sources, video_files
from cot_rm.media.options import DEFAULT, Options
from cot_rm.schema import BadMedia, ImageSource, VideoSource

PICTURE_SUFFIXES = (
  *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"),
  *(".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".tga"),
)
NUMPY = b"\x93NUMPY"  # an .npy file begins with it
# A record has its source under the first that has a value.
RECORD_KEYS = ("bytes", "base64", "data", "path", "url", "video")

Frames = Sequence[ImageSource] | np.ndarray
Located = pathlib.Path | bytes


@dataclasses.dataclass(frozen=True)
class Blank:
  """A video of which only the backgrounds are shown: the same frames of a file, with no object."""

  source: VideoSource


@dataclasses.dataclass(frozen=True)
class Video:
  """An opened video. Frames are decoded only when read."""

  count: int  # number of frames
  fps: float | None  # of those frames; None if unknown
  is_file: bool  # whether a file holds them, with a rate of its own; False: frames are given
  read: Callable[[Sequence[int]], Iterator[Image.Image]]  # ascending frame numbers -> RGB pictures
  sizes: Callable[[Sequence[int]], set[tuple[int, int]]]  # frame numbers -> (width, height)s


def video(
  source: VideoSource | Blank, *, fps: float | None = None, name: str, options: Options = DEFAULT
) -> Video:
  """Opens a video.

  Args:
    source: a video file or animated picture (path, URL, bytes or a record with "bytes" or
      "path"), an .npy file, a folder of pictures in natural order of their names, a
      sequence of pictures of any form, or u8[F, H, W, 3]; or a Blank of one of these.
    fps: frames per second of given frames; None: unknown. A video file has a rate of its own.
    name: the sample's name in errors.
    options: how media are opened.

  Raises BadMedia if there is no readable frame, ImportError if PyAV is needed and missing.
  """
  if fps is not None and not fps > 0:
    raise BadMedia(f"{name}: a video of {fps} frames per second; fps must be above 0")
  if isinstance(source, Blank):
    seen = video(source.source, fps=fps, name=name, options=options)
    return dataclasses.replace(
      seen, read=lambda numbers: map(pictures.background, seen.read(numbers))
    )
  form = _form(source, name, options)
  if not isinstance(form, _File):
    return _of_frames(form, fps, name, options)
  label, located = form.label, form.located
  start = _start(located, label, name)
  if not start:
    raise BadMedia(f"{name}: {label} is empty")
  if found := file_kinds.mistaken(start):
    raise BadMedia(f"{name}: {label} is no readable video: it is {found}")
  if animations.is_animation(start):
    count, own_fps, size = animations.timing(located, label=label, name=name, options=options)
    read = lambda numbers: animations.read(
      located, numbers, label=label, name=name, options=options
    )
  else:
    file = video_files.open_file(located, label=label, name=name)
    count, own_fps, size, read = file.count, file.fps, file.size, file.read
  return Video(count, own_fps, True, read, lambda numbers: {size})


def video_bytes(source: VideoSource, *, name: str, options: Options = DEFAULT) -> bytes | None:
  """The bytes of a video file or animated picture; None for a video that is given as frames.

  Raises BadMedia if it cannot be read.
  """
  form = _form(source, name, options)
  if not isinstance(form, _File):
    return None
  if isinstance(form.located, bytes):
    return form.located
  with decoders.blamed(form.label, name, "cannot be read"):
    return form.located.read_bytes()


def encoded_frames(source: VideoSource, *, name: str, options: Options = DEFAULT) -> list[bytes]:
  """The frames of a video as picture files, see `encoded_picture`.

  Raises BadMedia if there is no frame, or if the source is a video file: see `video_bytes`.
  """
  frames = frame_sources(source, name=name, options=options)
  if frames is None:
    raise BadMedia(
      f"{name}: a video is stored frame by frame; give its frames, a folder of pictures or an "
      f".npy file, not the video file {str(source)[:80]!r}"
    )
  return [
    pictures.encoded_picture(frame, name=f"{name}: frame {i}", options=options)
    for i, frame in enumerate(frames)
  ]


def frame_sources(source: VideoSource, *, name: str, options: Options = DEFAULT) -> Frames | None:
  """The frames of a video, unopened; None for a video file, which must be decoded.

  Raises BadMedia if the source is no video or has no frame.
  """
  form = _form(source, name, options)
  return None if isinstance(form, _File) else form


def frame_files(folder: pathlib.Path, *, name: str) -> list[pathlib.Path]:
  """The pictures of a folder in natural order: 2 before 10. Hidden files are none.

  Raises BadMedia if there is none, or the folder cannot be listed.
  """
  with decoders.blamed(f"folder {str(folder)!r}", name, "cannot be read"):
    files = [
      file
      for file in folder.iterdir()
      if file.suffix.lower() in PICTURE_SUFFIXES and file.name[0] != "." and file.is_file()
    ]
  if not files:
    raise BadMedia(
      f"{name}: folder {str(folder)!r}: a video without frames: no file whose name ends in "
      f"{', '.join(PICTURE_SUFFIXES)}"
    )
  return sorted(files, key=_natural)


@dataclasses.dataclass(frozen=True)
class _File:
  """A video file that must be decoded."""

  label: str  # names it in errors
  located: Located


def _form(source: Any, name: str, options: Options) -> Frames | _File:
  """The frames, or the file that has them."""
  if isinstance(source, Mapping):
    key = next((key for key in RECORD_KEYS if source.get(key) is not None), None)
    if key is None or isinstance(source[key], Mapping):
      raise BadMedia(f"{name}: a record of a video has none of {', '.join(RECORD_KEYS)}")
    found = source[key]
    if key in ("base64", "data") and isinstance(found, str) and not sources.scheme(found):
      found = sources.decode_base64(found, name=name)
    return _form(found, name, options)
  if isinstance(source, np.ndarray):
    return _checked_frames(source, name)
  if isinstance(source, (list, tuple)):
    if not source:
      raise BadMedia(f"{name}: a video without frames")
    return source
  if isinstance(source, (bytes, bytearray, memoryview)):
    return _form_of_file(_File(f"{len(source):,} bytes", bytes(source)), name)
  if sources.scheme(source) == "data":
    return _form_of_file(_File("a data URL", sources.decode_data_url(source, name=name)), name)
  if isinstance(source, str) and (found := sources.picture_of_base64(source)) is not None:
    return _form_of_file(_File("base64", found), name)
  if sources.is_url(source):
    content = fetching.fetch(source, name=name, options=options)
    return _form_of_file(_File(repr(source[:200]), content), name)
  if not isinstance(source, (str, os.PathLike)):
    raise BadMedia(
      f"{name}: a video cannot be a {type(source).__name__}; give a folder, an .npy or video file, "
      "its bytes or data URL, a list of pictures, or u8[frames, height, width, 3]"
    )
  path = sources.local_path(source, name=name)
  with decoders.blamed(f"video {str(path)[:200]!r}", name, "cannot be read"):
    folder, exists = path.is_dir(), path.exists()  # an error where a name is too long
  if folder:
    return frame_files(path, name=name)
  if not exists:
    raise BadMedia(f"{name}: video {str(path)!r} does not exist")
  return _form_of_file(_File(repr(str(path)), path), name)


def _form_of_file(file: _File, name: str) -> Frames | _File:
  """The file, or its frames if it is an .npy file."""
  if not _start(file.located, file.label, name).startswith(NUMPY):
    if not (isinstance(file.located, pathlib.Path) and file.located.suffix.lower() == ".npy"):
      return file
  with decoders.blamed(file.label, name, "is no readable .npy file"):
    if isinstance(file.located, bytes):
      frames = np.load(io.BytesIO(file.located), allow_pickle=False)
    else:
      frames = np.load(file.located, mmap_mode="r", allow_pickle=False)
  return _checked_frames(frames, name)


def _start(located: Located, label: str, name: str) -> bytes:
  """The first 16 bytes of a file."""
  if isinstance(located, bytes):
    return located[:16]
  with decoders.blamed(label, name, "cannot be read"):
    with located.open("rb") as file:
      return file.read(16)


def _of_frames(frames: Frames, fps: float | None, name: str, options: Options) -> Video:
  def read(numbers: Sequence[int]) -> Iterator[Image.Image]:
    for i in numbers:
      yield pictures.picture(frames[i], name=f"{name}: frame {i}", options=options)

  def sizes(numbers: Sequence[int]) -> set[tuple[int, int]]:
    return {
      pictures.picture_size(frames[i], name=f"{name}: frame {i}", options=options) for i in numbers
    }

  return Video(len(frames), fps, False, read, sizes)


def _natural(path: pathlib.Path) -> tuple[list[str | int], str]:
  runs: list[str | int] = [*re.split(r"(\d+)", path.name)]
  runs[1::2] = map(int, runs[1::2])
  return runs, path.name


def _checked_frames(frames_FHW3: np.ndarray, name: str) -> np.ndarray:
  shape = frames_FHW3.shape
  if frames_FHW3.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not frames_FHW3.size:
    raise BadMedia(
      f"{name}: a video as an array is u8[frames, height, width, 3], not "
      f"{frames_FHW3.dtype}{list(shape)}"
    )
  return frames_FHW3
