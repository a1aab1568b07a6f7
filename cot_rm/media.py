"""Opens pictures and videos from every kind of source; errors name the sample.

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
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageOps

from cot_rm.schema import ImageSource, VideoSource

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")  # png jpeg gif webp bmp
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")  # others are converted to RGB
MAX_PIXELS = 89_478_485  # the size at which Pillow begins to warn: decoded, 268 MB
MIN_FRAMES = 4  # Qwen's rule: a video is never thinned below this
ORIENTATION = 0x0112  # the EXIF tag
# Errors that Pillow's decoders raise on damaged bytes.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, zlib.error)


@dataclasses.dataclass(frozen=True)
class Video:
  """An opened video. Frames are decoded only when read."""

  count: int  # number of frames
  fps: float | None  # of those frames; None if unknown
  read: Callable[[Sequence[int]], list[Image.Image]]  # ascending frame numbers -> RGB pictures


def picture(source: ImageSource, *, name: str) -> Image.Image:
  """The picture in RGB, upright, transparency over white, as transformers' processor sees it.

  Args:
    source: the picture.
    name: the sample's name in errors, e.g. "example 'vl-17'".

  Raises ValueError if it cannot be read, has no pixels or more than MAX_PIXELS.
  """
  if isinstance(source, np.ndarray):
    return _from_array(source, name)
  if isinstance(source, Image.Image):
    return _upright_rgb(source, "a picture", name)
  label, stream = _stream(source, name)
  with _open(stream, label, name) as opened:
    return _upright_rgb(opened, label, name)


def encoded_picture(source: ImageSource, *, name: str) -> bytes:
  """The bytes of a picture file: those given, or a PNG of a PIL image or array.

  Args:
    source: the picture; encoded bytes are not decoded.
    name: the sample's name in errors.

  Raises ValueError if there are no bytes to take.
  """
  if isinstance(source, np.ndarray):
    source = _from_array(source, name)
  if isinstance(source, Image.Image):
    return _png(source)
  label, stream = _stream(source, name)
  if isinstance(stream, io.BytesIO):
    return stream.getvalue()
  try:
    return stream.read_bytes()
  except OSError as error:
    raise ValueError(f"{name}: {label} cannot be read: {error}") from error


def is_path(source: ImageSource | VideoSource) -> bool:
  """Whether the source is a path or file:// URL."""
  return isinstance(source, os.PathLike) or (
    isinstance(source, str) and not source.startswith("data:")
  )


def local_path(source: str | os.PathLike, *, name: str) -> pathlib.Path:
  """The local path of a path or file:// URL; raises ValueError for an http(s):// URL."""
  text = os.fspath(source)
  if re.match(r"https?://", text):
    raise ValueError(f"{name}: {text!r}: nothing is fetched from the network; download it first")
  return pathlib.Path(text.removeprefix("file://"))


def decode_data_url(url: str, *, name: str) -> bytes:
  """Decodes a data URL. Raises ValueError, which begins with `name`, if it is not base64."""
  head, comma, payload = url.partition(",")
  if not comma or not head.endswith(";base64"):
    raise ValueError(f"{name}: the data URL {url[:40]!r}... is not base64")
  return decode_base64(payload, name=f"{name}: the data URL {url[:40]!r}... is damaged")


def decode_base64(text: str, *, name: str) -> bytes:
  """Decodes base64 text. Raises ValueError, which begins with `name`, if it is damaged or empty."""
  try:
    decoded = base64.b64decode(text, validate=True)
  except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
    raise ValueError(f"{name}: not base64: {error}") from error
  if not decoded:
    raise ValueError(f"{name}: the base64 text is empty")
  return decoded


def picture_of_base64(text: str) -> bytes | None:
  """The picture file that base64 text encodes; None if the text is not base64 of a picture."""
  try:
    decoded = base64.b64decode(text, validate=True)
  except (binascii.Error, ValueError):  # ValueError: not ASCII
    return None
  return decoded if decoded.startswith(SIGNATURES) else None


def thumbnail_url(image: Image.Image, side: int) -> str:
  """A PNG data URL of a copy of the picture, each side shrunk to `side` pixels at most."""
  image = image.copy()
  image.thumbnail((side, side))
  return "data:image/png;base64," + base64.b64encode(_png(image)).decode()


def _png(image: Image.Image) -> bytes:
  out = io.BytesIO()
  (image if image.mode in PNG_MODES else image.convert("RGB")).save(out, "PNG")
  return out.getvalue()


def _from_array(array_HW3: np.ndarray, name: str) -> Image.Image:
  if array_HW3.dtype != np.uint8 or array_HW3.ndim != 3 or array_HW3.shape[2] != 3:
    raise ValueError(
      f"{name}: a picture as an array is u8[H, W, 3], not {array_HW3.dtype}{list(array_HW3.shape)}"
    )
  _check_size(array_HW3.shape[1], array_HW3.shape[0], name)
  return Image.fromarray(np.ascontiguousarray(array_HW3))


def _stream(source: ImageSource, name: str) -> tuple[str, io.BytesIO | pathlib.Path]:
  """(name of the source in errors, its bytes or its path)."""
  if isinstance(source, (bytes, bytearray, memoryview)):
    return f"{len(source):,} bytes", io.BytesIO(source)
  if isinstance(source, str) and source.startswith("data:"):
    return "a data URL", io.BytesIO(decode_data_url(source, name=name))
  if isinstance(source, (str, os.PathLike)):
    path = local_path(source, name=name)
    return f"picture {str(path)!r}", path
  raise ValueError(
    f"{name}: a picture cannot be a {type(source).__name__}; give a PIL image, u8[H, W, 3], "
    "a path, bytes or a data URL"
  )


def _open(stream: io.BytesIO | pathlib.Path, label: str, name: str) -> Image.Image:
  try:
    return Image.open(stream)
  except FileNotFoundError as error:
    raise ValueError(f"{name}: {label} does not exist") from error
  except Image.DecompressionBombError as error:
    raise ValueError(f"{name}: {label} is too large: {error}; shrink it first") from error
  except UNREADABLE as error:
    raise ValueError(f"{name}: {label} is no readable picture: {error}") from error


def _upright_rgb(image: Image.Image, label: str, name: str) -> Image.Image:
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
    raise ValueError(f"{name}: {label} is damaged: {error}") from error


def _check_size(width: int, height: int, name: str) -> None:
  if not width or not height:
    raise ValueError(f"{name}: a picture of {width}x{height} pixels")
  if width * height > MAX_PIXELS:
    raise ValueError(
      f"{name}: a picture of {width:,}x{height:,} pixels is over {MAX_PIXELS:,} "
      "pixels in all; shrink it first"
    )


def video(source: VideoSource, *, fps: float | None = None, name: str) -> Video:
  """Opens a video.

  Args:
    source: the video; the pictures of a folder are in natural order of their names.
    fps: frames per second of the given frames; None: as the file says, or unknown.
    name: the sample's name in errors.

  Raises ValueError if there is no readable frame, ImportError if PyAV is needed and missing.
  """
  if fps is not None and not fps > 0:
    raise ValueError(f"{name}: a video of {fps} frames per second; fps must be above 0")
  frames = frame_sources(source, name=name)
  if frames is None:
    return _file(local_path(source, name=name), fps, name)

  def read(numbers: Sequence[int]) -> list[Image.Image]:
    return [picture(frames[i], name=f"{name}: frame {i}") for i in numbers]

  return Video(len(frames), fps, read)


def encoded_frames(source: VideoSource, *, name: str) -> list[bytes]:
  """The frames of a video as picture files, see `encoded_picture`.

  Raises ValueError if there is no frame, or if the source is a video file: those are not
  stored.
  """
  frames = frame_sources(source, name=name)
  if frames is None:
    raise ValueError(
      f"{name}: a video is stored frame by frame; give its frames, a folder of pictures or an "
      f".npy file, not the video file {str(source)[:80]!r}"
    )
  return [encoded_picture(frame, name=f"{name}: frame {i}") for i, frame in enumerate(frames)]


def frame_sources(source: VideoSource, *, name: str) -> Sequence[ImageSource] | None:
  """The frames of a video, unopened; None for a video file, which must be decoded.

  Raises ValueError if the source is no video or has no frame.
  """
  if isinstance(source, np.ndarray):
    return _checked_frames(source, name)
  if isinstance(source, (list, tuple)):
    if not source:
      raise ValueError(f"{name}: a video without frames")
    return source
  if not isinstance(source, (str, os.PathLike)):
    raise ValueError(
      f"{name}: a video cannot be a {type(source).__name__}; give a folder, an .npy "
      "or video file, a list of pictures, or u8[frames, height, width, 3]"
    )
  path = local_path(source, name=name)
  if path.is_dir():
    pictures = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
      raise ValueError(f"{name}: folder {str(path)!r}: a video without frames")
    return sorted(pictures, key=_natural)
  if not path.exists():
    raise ValueError(f"{name}: video {str(path)!r} does not exist")
  if path.suffix != ".npy":
    return None
  try:
    frames = np.load(path, mmap_mode="r", allow_pickle=False)
  except UNREADABLE as error:
    raise ValueError(f"{name}: {str(path)!r} is no readable .npy file: {error}") from error
  return _checked_frames(frames, name)


def _natural(path: pathlib.Path) -> list[str | int]:
  return [int(run) if run.isdigit() else run for run in re.split(r"(\d+)", path.name)]


def _checked_frames(frames_FHW3: np.ndarray, name: str) -> np.ndarray:
  shape = frames_FHW3.shape
  if frames_FHW3.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not frames_FHW3.size:
    raise ValueError(
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
      # The length in the header is a guess in many containers: count the packets.
      count = sum(1 for packet in container.demux(stream) if packet.size)
  except (av.FFmpegError, IndexError) as error:
    raise ValueError(f"{name}: {str(path)!r} is no readable video: {error}") from error
  if not count:
    raise ValueError(f"{name}: {str(path)!r} holds no frame")

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
      raise ValueError(f"{name}: {str(path)!r} is damaged: {error}") from error
    if len(frames) < len(wanted):
      raise ValueError(f"{name}: {str(path)!r} ends before frame {max(wanted)}")
    return [picture(frames[number], name=name) for number in numbers]

  return Video(count, rate, read)


def sample_frames(
  count: int, source_fps: float | None, *, fps: float, max_frames: int, multiple: int
) -> tuple[list[int], float]:
  """Chooses the frames of a video that the model sees: at most `fps` per second and `max_frames`.

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
