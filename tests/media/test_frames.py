"""Which frames of a video the model sees."""

import pytest

from cot_rm import media


@pytest.mark.parametrize(
  "count, rate, fps, most, numbers, got_fps",
  [
    (5, None, 2, 768, [0, 1, 2, 3, 4], 2),  # already sampled: all of them, odd or not
    (5, 2, 2, 768, [0, 1, 2, 3, 4], 2),
    (5, 1, 2, 768, [0, 1, 2, 3, 4], 1),  # sparser than asked
    (1, None, 2, 768, [0], 2),
    (60, 30, 2, 768, [0, 20, 39, 59], 2),
    (30, 30, 2, 768, [0, 10, 19, 29], 4),  # one second: no fewer than four
    (300, 30, 2, 7, [0, 60, 120, 179, 239, 299], 0.6),  # capped, and even
    (3, 30, 2, 768, [0, 1, 2], 30),
  ],
)
def test_frames_are_thinned_by_qwens_rule(count, rate, fps, most, numbers, got_fps):
  got = media.sample_frames(count, rate, fps=fps, max_frames=most, multiple=2)
  assert got[0] == numbers
  assert got[1] == pytest.approx(got_fps)


def test_too_few_frames_to_fill_a_patch_is_an_error():
  with pytest.raises(ValueError, match="max_frames is 1 .*, less than the 2 frames"):
    media.sample_frames(5, 2, fps=2, max_frames=1, multiple=2)
