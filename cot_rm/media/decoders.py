"""Finds the decoder of a picture file; whatever goes wrong in it is an error about that picture."""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

from cot_rm import file_kinds
from cot_rm.media import machine_errors, sources
from cot_rm.schema import BadMedia

# Not opened: EPS is a program, which Pillow would give to Ghostscript.
REFUSED_FORMATS = ("EPS",)
PREFIX = 16  # bytes by which Pillow's formats are told apart
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
ASF = b"0&\xb2u"  # WMV files begin with it


@contextlib.contextmanager
def blamed(label: str, name: str, fault: str) -> Iterator[None]:
  """Turns every error of a decoder inside into BadMedia, but for those of the machine.

  Decoders raise errors of many kinds on damaged bytes, RuntimeError and MemoryError among them.

  Args:
    label: names the picture or video.
    name: the sample's name.
    fault: what an error means, such as "is damaged".
  """
  try:
    yield
  except BadMedia:
    raise
  except Exception as error:  # pylint: disable=broad-exception-caught
    if machine_errors.is_of_machine(error):
      raise
    if isinstance(error, FileNotFoundError):
      raise BadMedia(f"{name}: {label} does not exist") from error
    reason = str(error) or type(error).__name__
    raise BadMedia(f"{name}: {label} {fault}: {reason[:300]}") from error


@contextlib.contextmanager
def opened(located: sources.Located, label: str, name: str) -> Iterator[Image.Image]:
  """A picture file, identified by its first bytes; its pixels are not decoded.

  Raises BadMedia if it is none, ImportError if it is HEIC and the decoder is not installed.
  """
  with contextlib.ExitStack() as stack:
    with blamed(label, name, "cannot be read"):
      stream: BinaryIO = (
        stack.enter_context(located.open("rb"))
        if isinstance(located, pathlib.Path)
        else io.BytesIO(located)
      )
      prefix = stream.read(PREFIX)
    if not prefix:
      raise BadMedia(f"{name}: {label} is empty")
    image = _identified(stream, prefix, label, name)
    stack.callback(image.close)
    yield image


def _identified(stream: BinaryIO, prefix: bytes, label: str, name: str) -> Image.Image:
  # Image.open is not used: it warns of, or refuses, large pictures by a global of Pillow.
  # options.max_file_pixels takes its place.
  Image.init()
  reasons = []
  for kind in Image.ID:
    if kind in REFUSED_FORMATS:
      continue
    factory, accept = Image.OPEN[kind]
    try:
      accepted = accept is None or accept(prefix)
      if accepted and not isinstance(accepted, str):  # a string: known, but without its library
        stream.seek(0)
        return factory(stream, "")
    except MemoryError as error:  # sizes that a damaged header claims
      reasons.append(f"{kind}: {error or 'out of memory'}")
    except Exception as error:  # pylint: disable=broad-exception-caught  # the next may know it
      if machine_errors.is_of_machine(error):
        raise
      if accept is not None:  # formats without a signature try every file
        reasons.append(f"{kind}: {error or type(error).__name__}")
  if prefix[sources.FTYP] == b"ftyp" and prefix[8:12] in HEIF_BRANDS:
    return _heif(stream, label, name)
  if prefix.startswith(b"%!PS") or prefix.startswith(b"\xc5\xd0\xd3\xc6"):
    reasons.append("EPS files are not opened")
  if _is_video(prefix):
    reasons.append("it is a video: give it as one, such as Media('video', ...)")
  if found := file_kinds.mistaken(prefix):
    reasons.append(f"it is {found}")
  why = "; ".join(reasons)[:300] or f"no picture format begins with {prefix!r}"
  raise BadMedia(f"{name}: {label} is no readable picture: {why}")


def _is_video(prefix: bytes) -> bool:
  """Whether a file that no picture decoder takes begins as one of the usual video formats does."""
  avi = prefix.startswith(b"RIFF") and prefix[8:12] == b"AVI "
  begun = prefix.startswith((*sources.VIDEO_SIGNATURES, ASF))
  return avi or begun or prefix[sources.FTYP] == b"ftyp"


def _heif(stream: BinaryIO, label: str, name: str) -> Image.Image:
  try:
    import pillow_heif  # an extra: only HEIC files need it
  except ModuleNotFoundError as error:
    raise ImportError(
      f"{name}: {label} is HEIC, which needs pillow-heif: pip install 'cot_rm[heic]', or convert "
      "it to JPEG"
    ) from error
  stream.seek(0)
  with blamed(label, name, "is no readable picture"):
    return pillow_heif.HeifImageFile(stream)
