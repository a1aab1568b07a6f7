"""Where the bytes of a picture or video are: paths, URLs, base64, records"""

import base64
import binascii
import os
import pathlib
import re
import string
import urllib.parse
from collections.abc import Mapping

from cot_rm.media import fetching
from cot_rm.media.options import Options
from cot_rm.schema import BadMedia, ImageSource, VideoSource

# How the files of the usual picture formats begin.
SIGNATURES = (
  b"\x89PNG\r\n",
  b"\xff\xd8\xff",  # JPEG
  b"GIF8",
  b"RIFF",  # WebP
  b"BM",
  b"II*\x00",  # TIFF
  b"MM\x00*",
  b"\x00\x00\x01\x00",  # ICO
  b"\x00\x00\x00\x0cjP  ",  # JPEG 2000
  *(b"P%d%c" % (number, blank) for number in range(1, 7) for blank in b" \n"),  # PBM, PGM, PPM
)
FTYP = slice(4, 8)  # holds b"ftyp" in AVIF and HEIC files
VIDEO_SIGNATURES = (  # of containers without an ftyp box
  b"\x1aE\xdf\xa3",  # Matroska, WebM
  b"OggS",
  b"FLV\x01",
  b"\x00\x00\x01\xba",  # MPEG
)
SHORTEST = 40  # characters of base64 that may be a picture: shorter strings are paths
_URL = re.compile(r"(https?|file|data):", re.IGNORECASE)
_OTHER_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # s3, gs, hf ...; no C:\
_BASE64 = re.compile(r";\s*base64\s*,", re.IGNORECASE)  # of a data URL; its parameters have commas
# The keys under which a record of a picture has its source; Hugging Face's Image feature has
# {"bytes": ..., "path": ...}, OpenAI's parts {"url": ...}, Anthropic's {"data": ...}.
KEYS = ("bytes", "base64", "data", "url", "path", "image", "image_url")

Located = bytes | pathlib.Path


def scheme(source: object) -> str:
  """The scheme of a URL ("http", "https", "file", "data"); "" for anything else."""
  found = _URL.match(source) if isinstance(source, str) else None
  return found[1].lower() if found else ""


def is_url(source: object) -> bool:
  """Whether the source is on the network."""
  return scheme(source) in ("http", "https")


def is_path(source: ImageSource | VideoSource) -> bool:
  """Whether the source is a path or file:// URL."""
  if isinstance(source, str):
    return scheme(source) in ("", "file") and picture_of_base64(source) is None
  return isinstance(source, os.PathLike)


def local_path(source: str | os.PathLike, *, name: str) -> pathlib.Path:
  """The local path of a path or file:// URL; raises BadMedia for a URL of another scheme.

  The path of a URL may be percent-encoded. A file whose name has the encoded form is preferred,
  because many programs write URLs without encoding.
  """
  text = os.fspath(source)
  if not isinstance(text, str):
    text = os.fsdecode(text)
  if "\0" in text:
    raise BadMedia(f"{name}: the path {text[:80]!r} holds a NUL character")
  if is_url(text):
    raise BadMedia(f"{name}: {text[:200]!r} is on the network, not a local file")
  if scheme(text) != "file":
    if (other := _OTHER_URL.match(text)) and not exists(text):
      raise BadMedia(
        f"{name}: {text[:200]!r}: URLs of the scheme {other[1]!r} are not read; known: file, http, "
        "https, data; download it first"
      )
    return pathlib.Path(text)
  text = text[len("file:") :].removeprefix("//")
  text = text.removeprefix("localhost") if text.lower().startswith("localhost/") else text
  decoded = urllib.parse.unquote(text)
  return pathlib.Path(text if exists(text) else decoded)


def exists(path: str | os.PathLike) -> bool:
  """Whether there is a file or folder; False for a string that cannot be a path."""
  try:
    return os.path.lexists(path) and os.path.exists(path)
  except (ValueError, OSError):  # NUL, a lone surrogate
    return False


def locate(
  source: ImageSource | VideoSource, *, name: str, options: Options
) -> tuple[str, Located]:
  """(name of the source in errors, its bytes or its path).

  Args:
    source: a path, a URL (file, data, or with options.http one on the network), base64, bytes, or
      a record of one of them under one of KEYS.
    name: the sample's name in errors.
    options: whether URLs are fetched.

  Raises BadMedia if it is none of them.
  """
  if isinstance(source, Mapping):
    return locate(unwrapped(source, name=name), name=name, options=options)
  if isinstance(source, bytes | bytearray | memoryview):
    return f"{len(source):,} bytes", bytes(source)
  if isinstance(source, str):
    if scheme(source) == "data":
      return "a data URL", decode_data_url(source, name=name)
    if is_url(source):
      return source[:200], fetching.fetch(source, name=name, options=options)
    found = picture_of_base64(source)
    if found is not None:
      return "base64", found
  if isinstance(source, str | os.PathLike):
    path = local_path(source, name=name)
    return f"picture {str(path)[:200]!r}", path
  raise BadMedia(
    f"{name}: a picture cannot be a {type(source).__name__}; give a PIL image, u8[H, W, 3], "
    "a path, a URL, base64 or bytes"
  )


def fetched(source: ImageSource, *, name: str, options: Options) -> tuple[ImageSource, str]:
  """(a source that is read from the network once, the sample's name in errors about it).

  Args:
    source: a picture; where it is a URL on the network, or a record of one, its bytes are taken.
    name: the sample's name; the URL is added to it where it was fetched.
    options: whether URLs are fetched.

  Raises BadMedia as `fetching.fetch`.
  """
  url = unwrapped(source, name=name) if isinstance(source, Mapping) else source
  if not (isinstance(url, str) and is_url(url)):
    return source, name
  return fetching.fetch(url, name=name, options=options), f"{name}: {url[:200]!r}"


def unwrapped(record: Mapping, *, name: str) -> ImageSource:
  """The source that a record of a picture holds under the first of KEYS that has a value.

  Raises BadMedia if there is none.
  """
  for key in KEYS:
    value = record.get(key)
    if value is None or (isinstance(value, str | bytes) and not value):
      continue
    if key in ("base64", "data") and isinstance(value, str) and not scheme(value):
      return decode_base64(value, name=name)
    return unwrapped(value, name=name) if isinstance(value, Mapping) else value
  raise BadMedia(
    f"{name}: a record of a picture has none of {', '.join(KEYS)}; it has "
    f"{', '.join(map(repr, record)) or 'nothing'}"
  )


def decode_data_url(url: str, *, name: str) -> bytes:
  """Decodes a data URL of any media type and parameters. Raises BadMedia if it is not base64."""
  label = f"{name}: the data URL {url[:40]!r}..."
  mark = _BASE64.search(url)
  if mark is None:
    raise BadMedia(f"{label} is not base64")
  payload = url[mark.end() :]
  payload = urllib.parse.unquote(payload) if "%" in payload else payload
  return decode_base64(payload, name=f"{label} is damaged")


def decode_base64(text: str, *, name: str) -> bytes:
  """Decodes base64 text: both alphabets, with or without line ends and padding.

  Raises BadMedia, which begins with `name`, if it is damaged or empty.
  """
  try:
    decoded = _forgiving(text)
  except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
    raise BadMedia(f"{name}: not base64: {error}") from error
  if not decoded:
    raise BadMedia(f"{name}: the base64 text is empty")
  return decoded


def picture_of_base64(text: str) -> bytes | None:
  """The picture or video file that base64 text encodes; None if the text is not base64 of one.

  An existing file is none, whatever its name.
  """
  start = text[:SHORTEST].lstrip()
  if len(text) < SHORTEST or len(start) < 16:
    return None
  try:
    if not is_picture(_forgiving(start[:16])):
      return None
    decoded = _forgiving(text)
  except (binascii.Error, ValueError):
    return None
  return None if len(text) < 4096 and exists(text) else decoded


def is_picture(data: bytes) -> bool:
  """Whether bytes begin as the file of one of the usual picture or video formats does."""
  return data.startswith((*SIGNATURES, *VIDEO_SIGNATURES)) or data[FTYP] == b"ftyp"


def _forgiving(text: str) -> bytes:
  """The bytes of base64 text; raises ValueError if more than one reading is possible."""
  compact = text.translate(_NO_BLANKS).rstrip("=")
  if len(compact) % 4 == 1:
    raise ValueError(f"{len(compact):,} characters cannot be base64: it is cut")
  missing = -len(compact) % 4
  if missing and not text.rstrip().endswith("=") and " " in text.strip():
    raise ValueError("blanks inside and no padding: a blank may stand for a plus sign")
  return base64.b64decode(compact.translate(_ALPHABET) + "=" * missing, validate=True)


_NO_BLANKS = str.maketrans("", "", string.whitespace)
_ALPHABET = str.maketrans("-_", "+/")  # the alphabet that is safe in URLs
