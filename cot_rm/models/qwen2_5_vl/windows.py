"""Window order of the vision tower's patches, and their segment ids for attention; in numpy.

M merged patches (visual tokens), P patches. A grid counts merged patches: (frames, rows, columns).
"""

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
  """Order and segment ids of a grid's patches. Ids count from 1. The arrays are read only."""

  order_M: np.ndarray  # raster index of the merged patch at each index of window order
  inverse_M: np.ndarray  # index in window order of each merged patch of raster order
  hw_P: np.ndarray  # i32[P, 2]: row and column of each patch in its frame, in window order
  windows_P: np.ndarray  # i32: window id of each patch
  frames_P: np.ndarray  # i32: frame id of each patch


# Larger layouts, mostly of videos, are computed each time (in 30 ms at most): a thousand of them
# would take gigabytes. Those that are kept take 160 MB at most.
KEPT_TOKENS = 2048


def layout(grid: tuple[int, int, int], *, merge: int, window: int) -> Layout:
  """Layout of one picture or video. Windows are square, from each frame's top left corner.

  Order, windows and frames equal transformers' `get_vision_window_index` and
  `get_vision_cu_seqlens`, rows and columns its `get_vision_position_ids`.

  Args:
    grid: (frames, rows, columns) of merged patches.
    merge: patches along a side of a merged patch.
    window: merged patches along a side of a window.
  """
  make = _kept_layout if math.prod(grid) <= KEPT_TOKENS else _layout
  return make(grid, merge, window)


def _layout(grid: tuple[int, int, int], merge: int, window: int) -> Layout:
  """`layout`, computed."""
  t_M, y_M, x_M = np.indices(grid, dtype=np.int32).reshape(3, -1)
  order_M = np.lexsort((x_M, y_M, x_M // window, y_M // window, t_M))
  inverse_M = np.empty_like(order_M)
  inverse_M[order_M] = np.arange(len(order_M))

  corners_M3 = np.stack([t_M, y_M // window, x_M // window], axis=1)[order_M]
  starts = (np.diff(corners_M3, axis=0) != 0).any(axis=1)
  windows_M = np.concatenate([[1], 1 + np.cumsum(starts)]).astype(np.int32)

  inside = np.indices((merge, merge), dtype=np.int32).reshape(2, -1)
  hw_P = np.stack(
    [
      (base[order_M, None] * merge + inside[axis]).reshape(-1)
      for axis, base in enumerate((y_M, x_M))
    ],
    axis=1,
  )
  found = Layout(
    order_M=order_M,
    inverse_M=inverse_M.astype(np.int32),
    hw_P=hw_P,
    windows_P=windows_M.repeat(merge**2),
    frames_P=(t_M[order_M] + 1).repeat(merge**2),
  )
  for field in dataclasses.fields(found):
    getattr(found, field.name).setflags(write=False)
  return found


_kept_layout = functools.lru_cache(maxsize=1024)(_layout)
