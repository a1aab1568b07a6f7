"""Video files by PyAV: counts frames without decoding where that is exact, and seeks to those read.

Frames are in the order of their presentation. They are turned upright by the file's display matrix.
They are not deinterlaced, and pixels that are not square stay as they are (as in decord and
torchcodec). A frame of another size than the first is scaled to the first.
"""

import bisect
import contextlib
import dataclasses
import fractions
import io
import itertools
import math
import pathlib
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging
from PIL import Image

from cot_rm.media import machine_errors
from cot_rm.schema import BadMedia

if TYPE_CHECKING:
  import av

MAX_FRAMES = 1_000_000  # nine hours at 30 a second; damaged headers claim more
MAX_FRAME_PIXELS = 2**25  # a frame of 8K video
LONGEST_STEP = 3600.0  # seconds from one frame to the next
RATE_TOLERANCE = 0.1  # by which the times of frames may differ from the rate that a file states
# In these containers a packet of these codecs is a frame, and has its time.
EXACT_CONTAINERS = ("mov", "mp4", "matroska", "webm")
EXACT_CODECS = ("h264", "hevc", "av1", "libdav1d", "vp9", "mpeg4", "mjpeg", "prores", "ffv1")
# Formats that FFmpeg shows as video, or that name other files.
NOT_VIDEO = {
  "tty": "text",
  "hls": "a playlist; give the video that it names",
  "concat": "a list of files; give a video",
}
# What a row (a, b, c, d) of a display matrix, which moves (x, y) to (a x + c y, b x + d y), means.
TURNS = {
  (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
  (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
  (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
  (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
  (0, -1, 1, 0): Image.Transpose.ROTATE_90,
  (0, 1, -1, 0): Image.Transpose.ROTATE_270,
  (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
SIDEWAYS = (
  Image.Transpose.TRANSPOSE,
  Image.Transpose.ROTATE_90,
  Image.Transpose.ROTATE_270,
  Image.Transpose.TRANSVERSE,
)

Located = pathlib.Path | bytes


@dataclasses.dataclass(frozen=True)
class VideoFile:
  """An opened video file. Its frames are numbered from 0 in the order of presentation."""

  located: Located
  label: str  # names the file in errors
  name: str  # names the sample in errors
  count: int
  fps: float | None  # the average rate; None: unknown
  coded_size: tuple[int, int]  # width and height before turning
  turn: Image.Transpose | None
  times: tuple[int, ...] | None  # of each frame; None: frames are found by decoding all before them
  keys: tuple[int, ...] = ()  # times of frames that need no others

  @property
  def size(self) -> tuple[int, int]:
    """Width and height of the frames."""
    return self.coded_size[::-1] if self.turn in SIDEWAYS else self.coded_size

  def read(self, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """The frames of ascending numbers, in RGB, equal to those of a whole decoding.

    A frame that damage has made unreadable is shown by the one before it, as players do.

    Raises BadMedia if no frame can be read.
    """
    done = 0
    if self.times is not None:
      for picture in self._sought(numbers):
        yield picture
        done += 1
    if done < len(numbers):
      if self.times is not None:
        logging.warning("%s: %s is damaged; frames before the damage", self.name, self.label)
      yield from self._decoded(numbers[done:])

  def _sought(self, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """The frames up to the first that does not come at its time, by seeking."""
    assert self.times is not None
    opened = _opened(self.located, self.label, self.name, threads=True)
    with opened as (container, stream):
      frames, at, picture = _frames(container, stream, self.name), -math.inf, None
      for wanted in (self.times[number] for number in numbers):
        key = self.keys[max(bisect.bisect_right(self.keys, wanted) - 1, 0)]
        if key > at and key != self.keys[0]:
          try:
            container.seek(key, stream=stream)
          except _errors():
            return
          frames = _frames(container, stream, self.name)
        frame = None
        while at < wanted and (frame := next(frames, None)) is not None and frame.pts is not None:
          at = frame.pts
        if at != wanted:
          return
        picture = self._upright(frame) if frame is not None else picture
        assert picture is not None
        yield picture

  def _decoded(self, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """The frames by decoding from the start."""
    wanted = numbers if self.times is None else [self.times[number] for number in numbers]
    done, last = 0, None
    with _opened(self.located, self.label, self.name) as (container, stream):
      for number, frame in enumerate(_frames(container, stream, self.name)):
        at = number if self.times is None else frame.pts
        if at is None:
          continue
        while done < len(wanted) and wanted[done] < at and last is not None:
          yield self._upright(last)
          done += 1
        if done == len(wanted):
          return
        last = frame
    if last is None:
      raise BadMedia(f"{self.name}: {self.label} is damaged: no frame can be decoded")
    for _ in wanted[done:]:
      yield self._upright(last)

  def _upright(self, frame: "av.VideoFrame") -> Image.Image:
    width, height = self.coded_size
    try:
      picture = frame.to_image(width=width, height=height)
    except _errors() as error:
      raise BadMedia(f"{self.name}: {self.label} is damaged: {error}") from error
    return picture if self.turn is None else picture.transpose(self.turn)


def open_file(located: Located, *, label: str, name: str) -> VideoFile:
  """Opens a video file, and decodes its first frame; all frames where their packets do not tell.

  Args:
    located: the path or the bytes of the file.
    label: names the file in errors.
    name: names the sample in errors.

  Raises BadMedia if it is no video or no frame can be decoded, ImportError without PyAV.
  """
  with _opened(located, label, name) as (container, stream):
    times, keys = _scan(container, stream)
    shown: Sequence[int | None] = times or ()
  with _opened(located, label, name) as (container, stream):
    frames = _frames(container, stream, name)
    first = next(frames, None)
    if first is None:
      raise BadMedia(f"{name}: {label} has no frame that can be decoded")
    if times is None or first.pts != times[0]:
      times, keys, shown = None, (), [first.pts, *(frame.pts for frame in frames)]
    fps = _rate(stream, shown, f"{name}: {label}")
  turn = _turn(first)
  size = first.width, first.height
  return VideoFile(located, label, name, len(shown), fps, size, turn, times, keys)


def _scan(container: Any, stream: Any) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
  """(times of the frames, of the keys) by the packets; (None, ()) where these do not tell."""
  known = {*container.format.name.split(",")} & {*EXACT_CONTAINERS}
  if not known or stream.codec_context.name not in EXACT_CODECS:
    return None, ()
  times, keys = [], []
  try:
    for packet in container.demux(stream):
      if not packet.size:  # the last
        continue
      if packet.pts is None or packet.is_corrupt or len(times) > MAX_FRAMES:
        return None, ()
      if packet.is_keyframe:
        keys.append(packet.pts)
      if not packet.is_discard:
        times.append(packet.pts)
  except _errors():
    return None, ()
  times.sort()
  # Frames before the first key: of a file that was cut, they cannot be decoded.
  whole = times and keys and keys[0] <= times[0] and len({*times}) == len(times)
  return (tuple(times), tuple(sorted(keys))) if whole else (None, ())


def _frames(container: Any, stream: Any, name: str) -> Iterator["av.VideoFrame"]:
  """The frames that can be decoded, from where the container is; damaged packets are left out."""
  for count, packet in enumerate(_packets(container, stream)):
    if count > MAX_FRAMES:
      raise BadMedia(f"{name}: a video of over {MAX_FRAMES:,} frames; cut it first")
    try:
      frames = stream.decode(packet)
    except _errors():
      continue
    for frame in frames:
      _check_size(frame.width, frame.height, name)
      yield frame


def _packets(container: Any, stream: Any) -> Iterator[Any]:
  """The packets of a stream, up to the first that cannot be read.

  The last is empty, or None: for it the decoder gives the frames that it still holds.
  """
  try:
    yield from container.demux(stream)
  except _errors():
    yield None


def _check_size(width: int, height: int, name: str) -> None:
  if width * height > MAX_FRAME_PIXELS:
    raise BadMedia(
      f"{name}: a video of {width:,}x{height:,} pixels is over {MAX_FRAME_PIXELS:,} pixels in all; "
      "shrink it first"
    )


def _rate(stream: Any, times: Sequence[int | None], what: str) -> float | None:
  """The average rate: the stated one, unless the times of the frames say clearly otherwise.

  Files of browsers, screen recorders and live streams state none, or the rate of their clock, such
  as 1,000 a second; ffmpeg then guesses it by the first frames.

  Args:
    times: of the frames, in units of the stream's clock; None: unknown.
    what: names the file in warnings.
  """
  stated = stream.average_rate if stream.average_rate and stream.average_rate > 0 else None
  if measured := _measured(times, stream.time_base):
    # Shorter than a clip that states its rate: one frame more or less changes its average.
    if stated and abs(measured / stated - 1) <= RATE_TOLERANCE + 1 / len(times):
      return float(stated)
    said = f"states {float(stated):.6g} frames a second" if stated else "has no average rate"
    logging.warning("%s %s; taken to be %.6g, by the times of its frames", what, said, measured)
    return measured
  if stated is None and stream.guessed_rate and stream.guessed_rate > 0:
    logging.warning(
      "%s has no average rate; taken to be %.6g frames a second, as its clock suggests",
      what,
      stream.guessed_rate,
    )
    return float(stream.guessed_rate)
  return float(stated) if stated else None


def _measured(times: Sequence[int | None], unit: fractions.Fraction | None) -> float | None:
  """Frames a second by their times; None where these are missing, do not ascend, or jump."""
  known = [time for time in times if time is not None]
  if unit is None or len(known) < max(len(times), 2):
    return None
  steps = [later - earlier for earlier, later in itertools.pairwise(known)]
  if min(steps) <= 0 or max(steps) * unit > LONGEST_STEP:
    return None  # of parts that were joined, or of a damaged file
  return (len(known) - 1) / float((known[-1] - known[0]) * unit)


def _turn(frame: "av.VideoFrame") -> Image.Transpose | None:
  """How frames are turned upright: the right angle nearest to the display matrix."""
  matrix = frame.side_data.get("DISPLAYMATRIX")
  if matrix is None:
    return None
  a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))
  if abs(a) + abs(d) < abs(b) + abs(c):
    a = d = 0
  else:
    b = c = 0
  return TURNS.get(tuple((x > 0) - (x < 0) for x in (a, b, c, d)))


def _lenient(version: str) -> dict[str, str]:
  """Arguments of av.open for metadata in another encoding than UTF-8, by the version of PyAV.

  Versions from 19 on replace what they cannot decode, and have no argument for it.
  """
  return {"metadata_errors": "replace"} if int(version.partition(".")[0]) < 19 else {}


@contextlib.contextmanager
def _opened(
  located: Located, label: str, name: str, *, threads: bool = False
) -> Iterator[tuple[Any, Any]]:
  """The container and its video stream: not a cover picture."""
  try:
    import av  # an extra: only video files need it
  except ModuleNotFoundError as error:
    raise ImportError(
      f"{name}: {label} needs PyAV: pip install 'cot_rm[video]', or give a folder of pictures"
    ) from error
  with contextlib.ExitStack() as stack:
    try:
      # "file:": otherwise what stands before a colon in a name is a protocol.
      file = f"file:{located}" if isinstance(located, pathlib.Path) else io.BytesIO(located)
      container = stack.enter_context(av.open(file, **_lenient(av.__version__)))
      stream = container.streams.best("video")
    except _errors() as error:
      if machine_errors.is_of_machine(error, machine_errors.OPEN_FILES):
        raise
      reason = getattr(error, "strerror", None) or error
      raise BadMedia(f"{name}: {label} is no readable video: {reason}") from error
    if found := NOT_VIDEO.get(container.format.name):
      raise BadMedia(f"{name}: {label} is no readable video: it is {found}")
    if stream is None or stream.disposition & stream.disposition.attached_pic:
      sound = any(other.type in ("audio", "subtitle") for other in container.streams)
      why = "only sound or text" if sound else "no stream that is known: perhaps it was cut"
      raise BadMedia(f"{name}: {label} has no pictures, {why}")
    if stream.codec_context is None:
      raise BadMedia(f"{name}: {label} is of a codec that is not known")
    _check_size(stream.codec_context.width, stream.codec_context.height, name)
    # In threads: a frame or two are late, and after damage their number is not always the same.
    stream.thread_type = "AUTO" if threads else "NONE"
    yield container, stream


def _errors() -> tuple[type[Exception], ...]:
  """Errors that PyAV raises on damaged files."""
  import av

  return av.FFmpegError, ValueError, IndexError, OverflowError, RuntimeError, MemoryError
