"""Pictures and videos made by tests."""

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
