"""From RGB pictures to flat patches, number for number as transformers' Qwen2VLImageProcessorPil.

P patches, C numbers in a patch (channel, frame, row, column).
"""

import math

import numpy as np
from PIL import Image

MAX_ASPECT = 200


def smart_resize(height, width, *, factor, min_pixels, max_pixels):
  """(height, width) a picture is resized to: multiples of `factor`, the area within the bounds.

  Source: transformers' `smart_resize`. Raises ValueError where one side is over MAX_ASPECT times
  the other.
  """
  if max(height, width) > MAX_ASPECT * min(height, width):
    raise ValueError(
      f"a picture of {width:,}x{height:,} pixels is over {MAX_ASPECT} times as long "
      "as it is wide; crop it first"
    )
  rows, columns = round(height / factor) * factor, round(width / factor) * factor
  if rows * columns > max_pixels:
    scale = math.sqrt(height * width / max_pixels)
    rows = math.floor(height / scale / factor) * factor
    columns = math.floor(width / scale / factor) * factor
  elif rows * columns < min_pixels:
    scale = math.sqrt(min_pixels / (height * width))
    rows = math.ceil(height * scale / factor) * factor
    columns = math.ceil(width * scale / factor) * factor
  return max(rows, factor), max(columns, factor)


def table(*, rescale, mean, std):
  """f32[3, 256]: what each byte of each channel becomes, rounded in transformers' order."""
  values = (np.arange(256, dtype=np.float64) * rescale).astype(np.float32)
  mean, std = np.float32(mean)[:, None], np.float32(std)[:, None]
  return (values[None, :] - mean) / std


def resize(pictures, size, resample):
  """u8[frames, height, width, 3] of RGB pictures, each resized to size (height, width)."""
  height, width = size
  return np.stack(
    [
      np.asarray(
        picture
        if picture.size == (width, height)
        else picture.resize((width, height), Image.Resampling(resample))
      )
      for picture in pictures
    ]
  )


def patches(frames, *, patch, merge, temporal):
  """u8[P, C], merged patch by merged patch in raster order, frame pair after frame pair.

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
