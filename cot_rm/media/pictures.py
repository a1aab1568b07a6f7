"""Opens a picture of any form as upright RGB of 8 bits; errors name the sample.

H height and W width in pixels, C channels.
"""

import base64
import contextlib
import io
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import ExifTags, Image

from cot_rm.media import decoders, depth, sources
from cot_rm.media.options import DEFAULT, Options
from cot_rm.schema import BadMedia, ImageSource

ORIENTATION = ExifTags.Base.Orientation
TURNS = {  # of an EXIF orientation, as ImageOps.exif_transpose makes them
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations whose width is the height of the stored picture
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # others are converted to RGB
COMMENTS = ("comment", "Comment")  # of a JPEG or GIF; of a PNG
CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}  # modes of arrays


def picture(source: ImageSource, *, name: str, options: Options = DEFAULT) -> Image.Image:
  """The picture in RGB: upright, transparency over white, the first frame of an animation.

  Its pixels are those of transformers' load_image and Qwen2VLImageProcessorPil, except where the
  two differ, where they lose the picture, or where `options` say otherwise:
    - An EXIF orientation turns it, as load_image does; the processor alone and qwen-vl-utils do
      not (options.turn_exif).
    - Transparency is put over white, as the processor and qwen-vl-utils do; load_image drops it
      (options.over_white).
    - More than 8 bits are scaled, see depth.py; both others clip them (options.scale_depth).

  Comments are kept in `info`; other metadata is not.

  Args:
    source: a PIL image, an array ([H, W] or [H, W, C], C 1, 3 or 4: grey, RGB or RGBA; any
      numbers, see depth.py), a path, a URL, base64, bytes, or a record that holds one of these:
      see sources.locate.
    name: the sample's name in errors, e.g. "example 'vl-17'".
    options: how it is opened.

  Raises BadMedia if it cannot be read, has no pixels or more than options.max_file_pixels.
  """
  with _opened(source, name, options) as (image, label):
    _check_size(*image.size, name, options)
    with decoders.blamed(label, name, "is damaged"):
      stated = image.size
      image.load()
      if image.size != stated:  # in HEIC and ICO files
        raise ValueError(f"its header states {stated}, its pixels are {image.size}")
      out = _rgb(_upright(image, options), f"{name}: {label}", options)
    out.info = {
      key: image.info[key] for key in COMMENTS if isinstance(image.info.get(key), str | bytes)
    }
    return out


def picture_size(source: ImageSource, *, name: str, options: Options = DEFAULT) -> tuple[int, int]:
  """(width, height) of the upright picture, by its header: no pixel is decoded.

  Args:
    source: the picture.
    name: the sample's name in errors.
    options: how it is opened.

  Raises BadMedia as `picture` does, but for damage behind the header.
  """
  if isinstance(source, np.ndarray):
    _array_mode(source, name)
    _check_size(source.shape[1], source.shape[0], name, options)
    return source.shape[1], source.shape[0]
  with _opened(source, name, options) as (image, label):
    _check_size(*image.size, name, options)
    with decoders.blamed(label, name, "is damaged"):
      # Pillow gives the size of a TIFF upright, and turns its pixels itself.
      turned = image.format != "TIFF" and options.turn_exif and _orientation(image) in SIDEWAYS
    return image.size[::-1] if turned else image.size


def encoded_picture(source: ImageSource, *, name: str, options: Options = DEFAULT) -> bytes:
  """The bytes of a picture file: those given, or a PNG of a PIL image or array.

  The PNG opens as the image itself does, with its EXIF orientation.

  Args:
    source: the picture; encoded bytes are not decoded.
    name: the sample's name in errors.
    options: how it is opened.

  Raises BadMedia if there are no bytes to take.
  """
  if isinstance(source, Mapping):
    source = sources.unwrapped(source, name=name)
  if isinstance(source, np.ndarray):
    source = _from_array(source, name, options)
  if isinstance(source, Image.Image):
    _check_size(*source.size, name, options)
    with decoders.blamed("a picture", name, "is damaged"):
      source.load()
      if source.mode in PNG_MODES:
        return _png(source, _orientation(source))
      return _png(_rgb(source, f"{name}: a picture", options), _orientation(source))
  label, located = sources.locate(source, name=name, options=options)
  with decoders.blamed(label, name, "cannot be read"):
    data = located if isinstance(located, bytes) else located.read_bytes()
  if not data:
    raise BadMedia(f"{name}: {label} is empty")
  return data


def background(image: Image.Image) -> Image.Image:
  """An RGB picture of the same size in the colour of the first pixel."""
  return Image.new("RGB", image.size, image.getpixel((0, 0)))


def thumbnail_url(image: Image.Image, side: int) -> str:
  """A PNG data URL of a copy of the picture, each side shrunk to `side` pixels at most."""
  image = image.copy()
  image.thumbnail((side, side))
  return "data:image/png;base64," + base64.b64encode(_png(image)).decode()


@contextlib.contextmanager
def _opened(source: ImageSource, name: str, options: Options) -> Iterator[tuple[Image.Image, str]]:
  """(the picture, its name in errors); the pixels of a file are not decoded."""
  if isinstance(source, Mapping):
    source = sources.unwrapped(source, name=name)
  if isinstance(source, np.ndarray):
    yield _from_array(source, name, options), "an array"
  elif isinstance(source, Image.Image):
    yield source, "a picture"
  else:
    label, located = sources.locate(source, name=name, options=options)
    with decoders.opened(located, label, name) as image:
      yield image, label


def _upright(image: Image.Image, options: Options) -> Image.Image:
  turn = TURNS.get(_orientation(image)) if options.turn_exif else None
  return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
  """The EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data are damaged."""
  if image.format == "PNG" and "exif" not in image.info and not _late_text(image):
    read = Image.Image.getexif  # that of PNG decodes the picture, as EXIF may come after it
  else:
    read = type(image).getexif
  try:
    found = read(image).get(ORIENTATION, 1)
  except MemoryError:
    raise
  except Exception:  # pylint: disable=broad-exception-caught  # the pixels need no EXIF
    return 1
  return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _late_text(image: Image.Image) -> bool:
  """Whether an unread PNG file has EXIF or text chunks after its pixels."""
  stream = getattr(image, "fp", None)
  if stream is None or not getattr(image, "tile", None):
    return False  # read to its end
  place, pixels = stream.tell(), False
  try:
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
      if pixels and head[4:] in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
        return True
      pixels = pixels or head[4:] == b"IDAT"
      stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    return False
  finally:
    stream.seek(place)


def _rgb(image: Image.Image, name: str, options: Options) -> Image.Image:
  """The picture in RGB of 8 bits; a copy."""
  if options.scale_depth and image.mode.partition(";")[0] in ("I", "F"):
    values = np.asarray(image)
    clear = image.info.get("transparency")  # the grey that is transparent, in 16 bits
    image = Image.fromarray(depth.to_8_bits(values, name=name))
    if isinstance(clear, int):
      image.putalpha(Image.fromarray(depth.to_8_bits(values != clear, name=name)))
  if image.mode == "La":  # Pillow converts it to LA alone
    image = image.convert("LA")
  alpha = image.mode in ("LA", "PA", "RGBA", "RGBa") or image.info.get("transparency") is not None
  if not (options.over_white and alpha):
    return image.convert("RGB")
  image = image.convert("RGBA")
  white = Image.new("RGBA", image.size, (255, 255, 255, 255))
  return Image.alpha_composite(white, image).convert("RGB")


def _png(image: Image.Image, orientation: int = 1) -> bytes:
  """A PNG file with an EXIF orientation and the picture's comment."""
  out, exif = io.BytesIO(), Image.Exif()
  if orientation != 1:
    exif[ORIENTATION] = orientation
  image.save(out, "PNG", exif=exif.tobytes() if orientation != 1 else b"")
  return out.getvalue()


def _from_array(array_HWC: np.ndarray, name: str, options: Options) -> Image.Image:
  mode = _array_mode(array_HWC, name)
  _check_size(array_HWC.shape[1], array_HWC.shape[0], name, options)
  if array_HWC.ndim == 3 and mode == "L":
    array_HWC = array_HWC[:, :, 0]
  return Image.fromarray(np.ascontiguousarray(depth.to_8_bits(array_HWC, name=name)))


def _array_mode(array_HWC: np.ndarray, name: str) -> str:
  shape = array_HWC.shape
  channels = {2: 1, 3: shape[-1] if shape else 0}.get(len(shape), 0)
  if channels not in CHANNELS:
    raise BadMedia(
      f"{name}: a picture as an array is u8[H, W, 3], [H, W], [H, W, 1] or [H, W, 4], not "
      f"{array_HWC.dtype}{list(shape)}"
    )
  return CHANNELS[channels]


def _check_size(width: int, height: int, name: str, options: Options) -> None:
  if not width or not height:
    raise BadMedia(f"{name}: a picture of {width}x{height} pixels")
  if width * height > options.max_file_pixels:
    raise BadMedia(
      f"{name}: a picture of {width:,}x{height:,} pixels is over {options.max_file_pixels:,} "
      "pixels in all (config.data.max_file_pixels); shrink it first"
    )
