"""M-RoPE positions on three axes: time, height and width; text counts up on all three.

Source: arXiv:2409.12191 section 2.1, arXiv:2502.13923 section 2.1.2 (time in seconds).
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Mode = Literal["hf4", "hf5"]  # generations of transformers, see `positions`
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

  The modes are two generations of transformers, which differ on video only:
    hf4: 4.x, as in the training of the released checkpoints. The seconds between frames are
      truncated to an integer first (at 4 sampled frames per second all frames have the same time),
      and text after a video continues after the largest position so far.
    hf5: 5.x. Time steps are truncated after the multiplication, and text after a video continues
      after the larger side of a frame, however long the video: positions may repeat.
  In both, decoding continues after the largest position of all.

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
    size = 1 + block.max() if mode == "hf4" else max(span.grid[1:])
    block += position
    position += int(size)
  out_T3[token:] = np.arange(position, position + length - token)[:, None]
  return out_T3, int(out_T3.max(initial=-1)) + 1


def _steps(frames: int, seconds: float, tokens_per_second: float, mode: Mode) -> np.ndarray:
  """Time position of each frame, i32[frames]."""
  if mode == "hf4":
    return (np.arange(frames) * int(seconds) * tokens_per_second).astype(np.int32)
  # float32, as torch multiplies an integer tensor by a number: the truncation depends on it.
  return (np.arange(frames, dtype=np.float32) * np.float32(tokens_per_second * seconds)).astype(
    np.int32
  )
