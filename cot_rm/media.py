"""Opens pictures and videos, in whatever way they are given, and says which sample a bad one is in.

F frames, H height and W width in pixels.
"""

import base64
import binascii
import dataclasses
import io
import os
import pathlib
import re
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 89_478_485  # where Pillow begins to warn: decoded, 268 MB
MIN_FRAMES = 4  # Qwen's rule: a video is never thinned below this
ORIENTATION = 0x0112  # the EXIF tag
# What Pillow's decoders raise on damaged bytes.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, zlib.error)


@dataclasses.dataclass(frozen=True)
class Video:
  """An opened video. Frames are decoded only when read."""

  count: int  # frames it holds
  fps: float | None  # of those frames; None where nothing says
  read: Callable  # frame numbers, ascending -> list of RGB pictures


def picture(source, *, name):
  """The picture as RGB, upright, transparency over white, as transformers' processor sees it.

  Args:
    source: a PIL image, a path, a file:// or data: URL, encoded bytes, or u8[H, W, 3].
    name: how errors call the sample, e.g. "example 'vl-17'".
  Raises ValueError where it cannot be read, has no pixels or has more than MAX_PIXELS.
  """
  if isinstance(source, np.ndarray):
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
      raise ValueError(
        f"{name}: a picture as an array is u8[H, W, 3], not {source.dtype}{list(source.shape)}"
      )
    _check_size(source.shape[1], source.shape[0], name)
    return Image.fromarray(source)
  if isinstance(source, Image.Image):
    return _upright_rgb(source, name, "a picture")
  what, opened = _open(source, name)
  with opened:
    return _upright_rgb(opened, name, what)


def _open(source, name):
  if isinstance(source, (bytes, bytearray, memoryview)):
    what, stream = f"{len(source):,} bytes", io.BytesIO(source)
  elif isinstance(source, str) and source.startswith("data:"):
    what, stream = "a data URL", io.BytesIO(_data_url(source, name))
  elif isinstance(source, (str, os.PathLike)):
    path = _path(source, name)
    what, stream = f"picture {str(path)!r}", path
  else:
    raise ValueError(
      f"{name}: a picture cannot be a {type(source).__name__}; give a PIL image, "
      "a path, bytes or a data URL"
    )
  try:
    return what, Image.open(stream)
  except FileNotFoundError as error:
    raise ValueError(f"{name}: {what} does not exist") from error
  except Image.DecompressionBombError as error:
    raise ValueError(f"{name}: {what} is too large: {error}; shrink it first") from error
  except UNREADABLE as error:
    raise ValueError(f"{name}: {what} is no readable picture: {error}") from error


def _upright_rgb(image, name, what):
  _check_size(*image.size, name)
  try:
    if image.getexif().get(ORIENTATION, 1) != 1:
      image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or image.info.get("transparency") is not None:
      image = image.convert("RGBA")
      white = Image.new("RGBA", image.size, (255, 255, 255, 255))
      return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
  except UNREADABLE as error:
    raise ValueError(f"{name}: {what} is damaged: {error}") from error


def _check_size(width, height, name):
  if not width or not height:
    raise ValueError(f"{name}: a picture of {width}x{height} pixels")
  if width * height > MAX_PIXELS:
    raise ValueError(
      f"{name}: a picture of {width:,}x{height:,} pixels is over {MAX_PIXELS:,} "
      "pixels in all; shrink it first"
    )


def _data_url(url, name):
  head, comma, payload = url.partition(",")
  if not comma or not head.endswith(";base64"):
    raise ValueError(f"{name}: the data URL {url[:40]!r}... is not base64")
  try:
    return base64.b64decode(payload, validate=True)
  except binascii.Error as error:
    raise ValueError(f"{name}: the data URL {url[:40]!r}... is damaged: {error}") from error


def _path(source, name):
  text = os.fspath(source)
  if re.match(r"https?://", text):
    raise ValueError(f"{name}: {text!r}: nothing is fetched from the network; download it first")
  return pathlib.Path(text.removeprefix("file://"))


def video(source, *, fps=None, name):
  """An opened Video.

  Args:
    source: a folder of pictures (in natural order of their names), an .npy file of u8[F, H, W, 3],
      a video file (needs PyAV), a list or tuple of pictures, or u8[F, H, W, 3].
    fps: frames per second of the frames as given; None where the file says, or nobody knows.
    name: how errors call the sample.
  Raises ValueError where there is no readable frame, ImportError where PyAV is needed and missing.
  """
  if fps is not None and not fps > 0:
    raise ValueError(f"{name}: a video of {fps} frames per second")
  if isinstance(source, np.ndarray):
    return _array(source, fps, name)
  if isinstance(source, (list, tuple)):
    return _pictures(source, fps, name)
  if not isinstance(source, (str, os.PathLike)):
    raise ValueError(
      f"{name}: a video cannot be a {type(source).__name__}; give a folder, an .npy "
      "or video file, a list of pictures, or u8[frames, height, width, 3]"
    )
  path = _path(source, name)
  if path.is_dir():
    files = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    return _pictures(sorted(files, key=_natural), fps, f"{name}: folder {str(path)!r}")
  if not path.exists():
    raise ValueError(f"{name}: video {str(path)!r} does not exist")
  if path.suffix == ".npy":
    try:
      frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
      raise ValueError(f"{name}: {str(path)!r} is no readable .npy file: {error}") from error
    return _array(frames, fps, name)
  return _file(path, fps, name)


def _natural(path):
  return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _array(frames, fps, name):
  if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
    raise ValueError(
      f"{name}: a video as an array is u8[frames, height, width, 3], not "
      f"{frames.dtype}{list(frames.shape)}"
    )
  read = lambda numbers: [picture(np.ascontiguousarray(frames[i]), name=name) for i in numbers]
  return Video(len(frames), fps, read)


def _pictures(sources, fps, name):
  if not sources:
    raise ValueError(f"{name}: a video without frames")
  read = lambda numbers: [picture(sources[i], name=f"{name}: frame {i}") for i in numbers]
  return Video(len(sources), fps, read)


def _file(path, fps, name):
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
      # What the header says of the length is a guess in many containers: count the packets.
      count = sum(1 for packet in container.demux(stream) if packet.size)
  except (av.FFmpegError, IndexError) as error:
    raise ValueError(f"{name}: {str(path)!r} is no readable video: {error}") from error
  if not count:
    raise ValueError(f"{name}: {str(path)!r} holds no frame")

  def read(numbers):
    wanted, frames = set(numbers), {}
    try:
      with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
          if number in wanted:
            frames[number] = frame.to_image()
          if len(frames) == len(wanted):
            break
    except av.FFmpegError as error:
      raise ValueError(f"{name}: {str(path)!r} is damaged: {error}") from error
    if len(frames) < len(wanted):
      raise ValueError(f"{name}: {str(path)!r} ends before frame {max(wanted)}")
    return [picture(frames[number], name=name) for number in numbers]

  return Video(count, rate, read)


def sample(count, source_fps, *, fps, max_frames, multiple):
  """Which frames to look at, and how many of them make a second.

  Frames that are no denser than `fps` are all taken. Denser ones are thinned to `fps`, and any
  to `max_frames`, evenly from the first to the last; their number is then a multiple of `multiple`
  and, by Qwen's rule, at least MIN_FRAMES where there are as many.
  Source: qwen_vl_utils.vision_process.smart_nframes.

  Args:
    count: frames there are.
    source_fps: their rate; None: taken to be `fps` already.
  Returns:
    (frame numbers, their frames per second).
  """
  source_fps = source_fps or fps
  most = max_frames // multiple * multiple
  if most < multiple:
    raise ValueError(f"max_frames {max_frames} is less than the {multiple} frames of a patch")
  wanted = max(count / source_fps * fps, MIN_FRAMES)
  if wanted >= count and count <= most:
    return list(range(count)), source_fps
  number = int(min(wanted, most, count)) // multiple * multiple
  # Ties go to the even frame, as torch.round does.
  return np.linspace(0, count - 1, number).round().astype(int).tolist(), number / count * source_fps


def thumbnail_url(image: Image.Image, side: int) -> str:
  """A PNG data URL of a copy of the picture, each side shrunk to `side` pixels at most."""
  image = image.copy()
  image.thumbnail((side, side))
  return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def png_bytes(image: Image.Image) -> bytes:
  """The picture as a PNG file."""
  out = io.BytesIO()
  image.save(out, "PNG")
  return out.getvalue()
