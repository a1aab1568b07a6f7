"""Pictures and videos made by tests."""

import fractions
import io

import numpy as np
import pytest

NAME = "example 'vl-17'"


def colours(height, width, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **settings):
  out = io.BytesIO()
  image.save(out, kind, **settings)
  return out.getvalue()


def frames(count=5, height=8, width=10):
  return np.stack([np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)])


def write_video(path, array, rate):
  av = pytest.importorskip("av")
  with av.open(str(path), "w") as container:
    stream = container.add_stream("mpeg4", rate=rate)
    stream.width, stream.height, stream.pix_fmt = array.shape[2], array.shape[1], "yuv420p"
    for frame in array:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())


def moving(count=12, height=48, width=64):
  """Frames that all differ: a square moves over a gradient, and the brightness counts up."""
  out = np.empty((count, height, width, 3), np.uint8)
  out[:] = (np.arange(width) * 127 // width)[None, None, :, None]
  for i, frame in enumerate(out):
    frame[..., 1] = 20 + 200 * i // count
    x, y = i * 3 % (width - 8), i * 2 % (height - 8)
    frame[y : y + 8, x : x + 8] = (255, 40, 200)
  return out


def encode_video(
  target,
  array,
  *,
  container="mp4",
  codec="libx264",
  pixels="yuv420p",
  rate=10,
  times=None,
  options=None,
  muxing=None,
  **context,
):
  """Writes a video to a path, or returns its bytes where the target is None.

  times: of each frame, in units of 1/rate seconds; None: 0, 1, 2 ...
  """
  av = pytest.importorskip("av")
  file = io.BytesIO() if target is None else str(target)
  with av.open(file, "w", format=container, options=muxing or {}) as out:
    stream = out.add_stream(codec, rate=rate, options=options or {})
    stream.height, stream.width, stream.pix_fmt = *array.shape[1:3], pixels
    for name, value in context.items():
      setattr(stream.codec_context, name, value)
    for i, picture in enumerate(array):
      frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
      frame.pts, frame.time_base = (times[i] if times else i), fractions.Fraction(1, rate)
      out.mux(stream.encode(frame))
    out.mux(stream.encode())
  return file.getvalue() if target is None else None
