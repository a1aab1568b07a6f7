"""M-RoPE positions on three axes: time, height and width; text counts up on all three.

Source: arXiv:2409.12191 section 2.1, arXiv:2502.13923 section 2.1.2 (time in seconds).
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Mode = Literal["hf4_49", "hf4", "hf5"]  # generations of transformers, see `positions`
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclasses.dataclass(frozen=True)
class Span:
  """The visual tokens of one picture or video in a prompt."""

  start: int  # its first token
  grid: tuple[int, int, int]  # frames, rows and columns of merged patches
  seconds: float | None = None  # from one frame (pair) to the next; None: a picture

  @property
  def length(self) -> int:
    """Number of visual tokens."""
    return self.grid[0] * self.grid[1] * self.grid[2]


def positions(
  length: int, spans: Sequence[Span], *, tokens_per_second: float, mode: Mode
) -> tuple[np.ndarray, int]:
  """Positions of a prompt's tokens, i32[T, 3], and the position of the first token after it.

  The modes are generations of transformers, which differ on video only:
    hf4_49: 4.49 to 4.51, with which R1-Reward was trained. Time steps are rounded down after the
      multiplication, and text after a video continues after the largest position so far.
    hf4: 4.52 to 4.57. The seconds between frames are rounded down to an integer first: if they are
      less than 1, all frames have the same time (see `collapses`). Text continues as in hf4_49.
    hf5: 5.x. Time steps are rounded down after the multiplication, and text after a video continues
      after the larger side of a frame, however long the video: positions may repeat.
  In all, the answer continues where text after the prompt would.

  Args:
    length: T, tokens of the prompt.
    spans: the prompt's pictures and videos, in order.
    tokens_per_second: time steps per second of video.
    mode: see above.

  Raises ValueError on an unknown mode.
  """
  if mode not in MODES:
    raise ValueError(f"unknown mrope mode {mode!r}; known: {', '.join(MODES)}")
  out_T3 = np.empty((length, 3), np.int32)
  token = position = 0
  for span in spans:
    text = span.start - token
    out_T3[token : span.start] = np.arange(position, position + text)[:, None]
    position += text
    token = span.start + span.length
    block = out_T3[span.start : token]
    block[:] = np.indices(span.grid).reshape(3, -1).T
    if span.seconds is not None:
      block[:, 0] = _steps(span.grid[0], span.seconds, tokens_per_second, mode)[block[:, 0]]
    size = max(span.grid[1:]) if mode == "hf5" else 1 + block.max()
    block += position
    position += int(size)
  after = position + length - token
  out_T3[token:] = np.arange(position, after)[:, None]
  return out_T3, after


def collapses(span: Span, *, mode: Mode) -> bool:
  """Whether all frames of a video have the same time, so that the model does not see their order.

  In mode hf4 they do if less than a second is between two frames (pairs).
  """
  if mode != "hf4" or span.seconds is None:
    return False
  return span.grid[0] > 1 and np.float32(span.seconds) < 1


def _steps(frames: int, seconds: float, tokens_per_second: float, mode: Mode) -> np.ndarray:
  """Time position of each frame, i32[frames]."""
  # float32, as transformers hands the seconds on, and as torch multiplies an integer tensor by a
  # number: the rounding depends on it, and on the order of the products.
  step, rate = np.float32(seconds), np.float32(tokens_per_second)
  if mode == "hf4":
    return (np.arange(frames) * int(step) * tokens_per_second).astype(np.int32)
  index = np.arange(frames, dtype=np.float32)
  return (index * step * rate if mode == "hf4_49" else index * (rate * step)).astype(np.int32)
