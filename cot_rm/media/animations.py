"""Animated pictures (GIF, WebP, PNG, AVIF) as videos; a still picture is a video of one frame."""

import io
import pathlib
from collections.abc import Iterator, Sequence

from PIL import Image

from cot_rm.media import decoders, machine_errors, pictures
from cot_rm.media.options import Options
from cot_rm.schema import BadMedia

SIGNATURES = (b"GIF8", b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")
MULTI_PICTURE = ("GIF", "WEBP", "PNG", "AVIF")  # formats whose further pictures are frames
DEFAULT_DURATION = 100  # milliseconds of a frame that states none, as browsers show it
MAX_FRAMES = 100_000

Located = pathlib.Path | bytes


def is_animation(start: bytes) -> bool:
  """Whether a file that begins with these 16 bytes is a picture, animated or not."""
  return (
    start.startswith(SIGNATURES)
    or (start.startswith(b"RIFF") and start[8:12] == b"WEBP")
    or (start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"))
  )


def timing(
  located: Located, *, label: str, name: str, options: Options
) -> tuple[int, float | None, tuple[int, int]]:
  """(number of frames, their average rate, width and height).

  The frames are decoded, because their number and their durations are nowhere else. Those behind
  damage are not counted. The rate of a single frame is unknown: None.

  Raises BadMedia if there is none.
  """
  milliseconds, count, size = 0.0, 0, (0, 0)
  with _opened(located, label, name) as image:
    try:
      for at in range(MAX_FRAMES if image.format in MULTI_PICTURE else 1):
        image.seek(_first(image) + at)  # an EOFError behind the last
        image.load()
        if not count:
          size = pictures.picture_size(image, name=name, options=options)
        milliseconds += float(image.info.get("duration") or DEFAULT_DURATION)
        count += 1
    except BadMedia:
      raise
    except Exception as error:  # of many kinds; the frames before are whole
      if machine_errors.is_of_machine(error):
        raise
      if not count:
        raise BadMedia(f"{name}: {label} is damaged: {error}") from error
  return count, count / milliseconds * 1000 if count > 1 else None, size


def read(
  located: Located, numbers: Sequence[int], *, label: str, name: str, options: Options
) -> Iterator[Image.Image]:
  """The frames of ascending numbers in RGB, transparency over white."""
  with _opened(located, label, name) as image:
    for number in numbers:
      with decoders.blamed(label, name, f"is damaged: frame {number}"):
        image.seek(_first(image) + number)
        frame = image.copy()
      yield pictures.picture(frame, name=f"{name}: frame {number}", options=options)


def _first(image: Image.Image) -> int:
  """Pillow's number of the first frame: a PNG may have a still picture before it."""
  return int(bool(image.info.get("default_image")))


def _opened(located: Located, label: str, name: str) -> Image.Image:
  with decoders.blamed(label, name, "is no readable video"):
    return Image.open(io.BytesIO(located) if isinstance(located, bytes) else located)
