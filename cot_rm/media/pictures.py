"""Opens a picture of any form as upright RGB; errors name the sample.

H height and W width in pixels.
"""

import base64
import io
import os
import pathlib
import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from cot_rm.media import sources
from cot_rm.schema import BadMedia, ImageSource

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")  # others are converted to RGB
MAX_PIXELS = 89_478_485  # the size at which Pillow begins to warn: decoded, 268 MB
ORIENTATION = 0x0112  # the EXIF tag
# Errors that Pillow's decoders raise on damaged bytes.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, zlib.error)


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


def picture_size(source: ImageSource, *, name: str) -> tuple[int, int]:
  """(width, height) of the upright picture, by its header: no pixel is decoded.

  Args:
    source: the picture.
    name: the sample's name in errors.

  Raises BadMedia as `picture` does, but for damage behind the header.
  """
  if isinstance(source, np.ndarray):
    source = _from_array(source, name)
  if isinstance(source, Image.Image):
    return _upright_size(source, "a picture", name)
  label, stream = _stream(source, name)
  with _open(stream, label, name) as opened:
    return _upright_size(opened, label, name)


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
    raise BadMedia(f"{name}: {label} cannot be read: {error}") from error


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
    raise BadMedia(
      f"{name}: a picture as an array is u8[H, W, 3], not {array_HW3.dtype}{list(array_HW3.shape)}"
    )
  _check_size(array_HW3.shape[1], array_HW3.shape[0], name)
  return Image.fromarray(np.ascontiguousarray(array_HW3))


def _stream(source: ImageSource, name: str) -> tuple[str, io.BytesIO | pathlib.Path]:
  """(name of the source in errors, its bytes or its path)."""
  if isinstance(source, (bytes, bytearray, memoryview)):
    return f"{len(source):,} bytes", io.BytesIO(source)
  if isinstance(source, str) and source.startswith("data:"):
    return "a data URL", io.BytesIO(sources.decode_data_url(source, name=name))
  if isinstance(source, (str, os.PathLike)):
    path = sources.local_path(source, name=name)
    return f"picture {str(path)!r}", path
  raise BadMedia(
    f"{name}: a picture cannot be a {type(source).__name__}; give a PIL image, u8[H, W, 3], "
    "a path, bytes or a data URL"
  )


def _open(stream: io.BytesIO | pathlib.Path, label: str, name: str) -> Image.Image:
  try:
    return Image.open(stream)
  except FileNotFoundError as error:
    raise BadMedia(f"{name}: {label} does not exist") from error
  except Image.DecompressionBombError as error:
    raise BadMedia(f"{name}: {label} is too large: {error}; shrink it first") from error
  except UNREADABLE as error:
    raise BadMedia(f"{name}: {label} is no readable picture: {error}") from error


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
    raise BadMedia(f"{name}: {label} is damaged: {error}") from error


def _upright_size(image: Image.Image, label: str, name: str) -> tuple[int, int]:
  _check_size(*image.size, name)
  try:
    # Pillow's getexif decodes a whole PNG, because its EXIF data may be behind the pixels.
    late = isinstance(image, PngImagePlugin.PngImageFile) and _exif_behind_pixels(image.fp)
    exif = image.getexif() if late else Image.Image.getexif(image)
    turned = exif.get(ORIENTATION, 1) in (5, 6, 7, 8)
  except UNREADABLE as error:
    raise BadMedia(f"{name}: {label} is damaged: {error}") from error
  return image.size[::-1] if turned else image.size


def _exif_behind_pixels(png: BinaryIO | None) -> bool:
  """Whether a PNG has EXIF data after its first chunk of pixels; keeps the file's position."""
  if png is None:  # decoded already
    return True
  back, pixels_seen = png.tell(), False
  try:
    png.seek(8)  # behind the signature
    while len(head := png.read(8)) == 8:
      length, kind = struct.unpack(">I4s", head)
      pixels_seen |= kind == b"IDAT"
      if pixels_seen and kind == b"eXIf":
        return True
      png.seek(length + 4, os.SEEK_CUR)  # and the checksum
    return False
  finally:
    png.seek(back)


def _check_size(width: int, height: int, name: str) -> None:
  if not width or not height:
    raise BadMedia(f"{name}: a picture of {width}x{height} pixels")
  if width * height > MAX_PIXELS:
    raise BadMedia(
      f"{name}: a picture of {width:,}x{height:,} pixels is over {MAX_PIXELS:,} "
      "pixels in all; shrink it first"
    )
