"""RGB pictures to flat patches, equal to transformers' Qwen2VLImageProcessorPil.

P patches, C values per patch (channel, frame, row, column).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

MAX_ASPECT = 200


def smart_resize(
  height: int,
  width: int,
  *,
  factor: int,
  min_pixels: float,
  max_pixels: float,
  whole_first: bool = False,
) -> tuple[int, int]:
  """(height, width) after resizing: multiples of `factor`, with the area within the bounds.

  A side is never less than `factor`; with `whole_first` the area is compared with the bounds after
  this, as in qwen-vl-utils, else before. Source: transformers' `smart_resize`.

  Raises ValueError if one side is over MAX_ASPECT times the other.
  """
  if max(height, width) > MAX_ASPECT * min(height, width):
    raise ValueError(
      f"a picture of {width:,}x{height:,} pixels is over {MAX_ASPECT} times as long "
      "as it is wide; crop it first"
    )
  rows, columns = round(height / factor) * factor, round(width / factor) * factor
  if whole_first:
    rows, columns = max(rows, factor), max(columns, factor)
  if rows * columns > max_pixels:
    scale = math.sqrt(height * width / max_pixels)
    rows = math.floor(height / scale / factor) * factor
    columns = math.floor(width / scale / factor) * factor
  elif rows * columns < min_pixels:
    scale = math.sqrt(min_pixels / (height * width))
    rows = math.ceil(height * scale / factor) * factor
    columns = math.ceil(width * scale / factor) * factor
  return max(rows, factor), max(columns, factor)


def table(*, rescale: float, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
  """Normalized value of each byte of each channel, f32[3, 256], rounded in transformers' order."""
  values = (np.arange(256, dtype=np.float64) * rescale).astype(np.float32)
  mean, std = np.float32(mean)[:, None], np.float32(std)[:, None]
  return (values[None, :] - mean) / std


def resize(pictures: Iterable[Image.Image], size: tuple[int, int], resample: int) -> np.ndarray:
  """RGB pictures resized to (height, width), u8[frames, height, width, 3].

  resample: Pillow's number of the filter.
  """
  # One at a time: the frames of a long video are large before resizing.
  return np.stack([np.asarray(resized(picture, size, resample)) for picture in pictures])


def resized(picture: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
  """The picture resized to (height, width); itself where it has that size."""
  if picture.size == size[::-1]:
    return picture
  return picture.resize(size[::-1], Image.Resampling(resample))


def patches(frames: np.ndarray, *, patch: int, merge: int, temporal: int) -> np.ndarray:
  """Patches u8[P, C]: merged patch by merged patch in raster order, frame pair after frame pair.

  Args:
    frames: u8[frames, height, width, 3]; the last is repeated up to a multiple of `temporal`.
    patch: pixels along a side of a patch.
    merge: patches along a side of a merged patch.
    temporal: frames in a patch.
  """
  if missing := -len(frames) % temporal:
    frames = np.concatenate([frames, frames[-1:].repeat(missing, axis=0)])
  count, height, width, channels = frames.shape
  side = patch * merge
  blocks = frames.reshape(
    count // temporal, temporal, height // side, merge, patch, width // side, merge, patch, channels
  )
  blocks = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
  return blocks.reshape(-1, channels * temporal * patch**2)
