"""Where the bytes of a picture or video are: paths, URLs, base64"""

import base64
import binascii
import os
import pathlib
import re

from cot_rm.schema import BadMedia, ImageSource, VideoSource

SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")  # png jpeg gif webp bmp


def is_path(source: ImageSource | VideoSource) -> bool:
  """Whether the source is a path or file:// URL."""
  return isinstance(source, os.PathLike) or (
    isinstance(source, str) and not source.startswith("data:")
  )


def local_path(source: str | os.PathLike, *, name: str) -> pathlib.Path:
  """The local path of a path or file:// URL; raises ValueError for an http(s):// URL."""
  text = os.fspath(source)
  if re.match(r"https?://", text):
    raise BadMedia(f"{name}: {text!r}: nothing is fetched from the network; download it first")
  return pathlib.Path(text.removeprefix("file://"))


def decode_data_url(url: str, *, name: str) -> bytes:
  """Decodes a data URL. Raises ValueError, which begins with `name`, if it is not base64."""
  head, comma, payload = url.partition(",")
  if not comma or not head.endswith(";base64"):
    raise BadMedia(f"{name}: the data URL {url[:40]!r}... is not base64")
  return decode_base64(payload, name=f"{name}: the data URL {url[:40]!r}... is damaged")


def decode_base64(text: str, *, name: str) -> bytes:
  """Decodes base64 text. Raises ValueError, which begins with `name`, if it is damaged or empty."""
  try:
    decoded = base64.b64decode(text, validate=True)
  except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
    raise BadMedia(f"{name}: not base64: {error}") from error
  if not decoded:
    raise BadMedia(f"{name}: the base64 text is empty")
  return decoded


def picture_of_base64(text: str) -> bytes | None:
  """The picture file that base64 text encodes; None if the text is not base64 of a picture."""
  try:
    decoded = base64.b64decode(text, validate=True)
  except (binascii.Error, ValueError):  # ValueError: not ASCII
    return None
  return decoded if decoded.startswith(SIGNATURES) else None
