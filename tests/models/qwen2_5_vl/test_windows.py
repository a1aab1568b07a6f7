"""The order of patches and their segments against transformers."""

import numpy as np
import pytest

from cot_rm.models.qwen2_5_vl import windows

GRIDS = [
  (1, 2, 2),
  (1, 6, 6),
  (1, 8, 8),
  (1, 8, 16),
  (1, 10, 14),
  (1, 2, 60),
  (1, 34, 6),
  (3, 4, 4),
  (2, 10, 18),
  (5, 8, 8),
]


def boundaries(segments):
  return [0, *(1 + np.flatnonzero(np.diff(segments))).tolist(), len(segments)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("window_size", [56, 112])
def test_order_windows_frames_and_positions_equal_transformers(grid, window_size):
  torch = pytest.importorskip("torch")
  theirs = pytest.importorskip("transformers.vision_utils")
  grid_thw = torch.tensor([grid])
  order, bounds = theirs.get_vision_window_index(grid_thw, 2, window_size, 14)
  places = theirs.get_vision_position_ids(grid_thw, 2).numpy()
  frames = theirs.get_vision_cu_seqlens(grid_thw).tolist()

  t, h, w = grid
  got = windows.layout((t, h // 2, w // 2), merge=2, window=window_size // 28)
  np.testing.assert_array_equal(got.order_M, order.numpy())
  np.testing.assert_array_equal(got.inverse_M[got.order_M], np.arange(len(order)))
  assert boundaries(got.windows_P) == bounds.tolist()
  assert boundaries(got.frames_P) == frames
  np.testing.assert_array_equal(got.hw_P, places.reshape(-1, 4, 2)[order.numpy()].reshape(-1, 2))


def test_ids_count_from_one_and_grow():
  got = windows.layout((2, 5, 5), merge=2, window=4)
  assert got.windows_P[0] == got.frames_P[0] == 1
  assert got.windows_P[-1] == 2 * 4 and got.frames_P[-1] == 2
  assert (np.diff(got.windows_P) >= 0).all()


def test_layouts_of_long_videos_are_not_kept():
  before = windows._kept_layout.cache_info().currsize
  grids = [(frames, 14, 14) for frames in range(20, 25)]
  assert [len(windows.layout(grid, merge=2, window=4).order_M) for grid in grids] == [
    frames * 196 for frames in range(20, 25)
  ]
  assert windows._kept_layout.cache_info().currsize == before


def test_a_layout_is_shared_and_read_only():
  got = windows.layout((1, 3, 3), merge=2, window=4)
  assert windows.layout((1, 3, 3), merge=2, window=4) is got
  with pytest.raises(ValueError, match="read-only"):
    got.hw_P[0] = 7
