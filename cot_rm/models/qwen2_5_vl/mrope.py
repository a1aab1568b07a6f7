"""M-RoPE positions: one axis each for time, height and width; text counts on all three alike.

Source: arXiv:2409.12191 section 2.1, arXiv:2502.13923 section 2.1.2 (time in seconds).
"""

import dataclasses

import numpy as np

MODES = ("hf4", "hf5")


@dataclasses.dataclass(frozen=True)
class Span:
  """The visual tokens of one picture or video in a prompt."""

  start: int  # its first token
  grid: tuple[int, int, int]  # frames, rows and columns of merged patches
  seconds: float | None = None  # from one frame (pair) to the next; None: a picture

  @property
  def length(self):
    return self.grid[0] * self.grid[1] * self.grid[2]


def positions(length, spans, *, tokens_per_second, mode):
  """Positions of a prompt's tokens, and the position of the token that would come next.

  The modes are two generations of transformers, which differ on video only:
    hf4: 4.x, and what the released checkpoints saw. The seconds between frames are truncated to a
      whole number first (at 4 sampled frames a second time stands still), and what follows goes on
      after the largest position so far.
    hf5: 5.x. Time steps are truncated after the multiplication, and what follows goes on after the
      larger side of a frame, however long the video: positions may then repeat.
  In both, decoding goes on after the largest position of all.

  Args:
    length: T, tokens of the prompt.
    spans: its Spans, in order.
    tokens_per_second: time steps to a second of video.
  Returns:
    (i32[T, 3], int).
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


def _steps(frames, seconds, tokens_per_second, mode):
  """The time axis of each frame."""
  if mode == "hf4":
    return (np.arange(frames) * int(seconds) * tokens_per_second).astype(np.int32)
  # float32, as torch multiplies an integer tensor by a number: the truncation depends on it.
  return (np.arange(frames, dtype=np.float32) * np.float32(tokens_per_second * seconds)).astype(
    np.int32
  )
