"""The order in which the vision tower reads patches, and who attends to whom; all of it numpy.

M merged patches (visual tokens), P patches. A grid counts merged patches: (frames, rows, columns).
"""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
  """What follows from a grid alone. Segment ids count from 1. The arrays are shared: read only."""

  order_M: np.ndarray  # which merged patch, in raster order, stands at each place
  inverse_M: np.ndarray  # at which place each merged patch of raster order stands
  hw_P: np.ndarray  # i32[P, 2]: row and column of each patch in its frame, in window order
  windows_P: np.ndarray  # i32: window of each patch
  frames_P: np.ndarray  # i32: frame of each patch


@functools.lru_cache(maxsize=1024)
def layout(grid, *, merge, window):
  """Layout of one picture or video. Windows are square, cut from each frame's top left corner.

  The order, the windows and the frames are those of transformers' `get_vision_window_index` and
  `get_vision_cu_seqlens`, the rows and columns those of its `get_vision_position_ids`.

  Args:
    grid: (frames, rows, columns) of merged patches.
    merge: patches along a side of a merged patch.
    window: merged patches along a side of a window.
  """
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
