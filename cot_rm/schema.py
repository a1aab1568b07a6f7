"""What passes between the floors. Plain data: host side in numpy, device side in jax.

B sequences, T tokens, R rows of pictures (one per prompt), P patches, C numbers in a patch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

TASKS = ("image_understanding", "image_generation", "video_understanding", "video_generation")


@dataclasses.dataclass(frozen=True)
class Media:
  """One picture or one video, not opened yet.

  source of an image: a path, encoded bytes, a data URL or a PIL image. Source of a video: a folder
  of pictures, an .npy file, a video file, a tuple of image sources, or u8[frames, H, W, 3].
  """

  kind: str  # "image" or "video"
  source: Any
  fps: float | None = None  # frames per second of the frames as given; None where the file says


@dataclasses.dataclass(frozen=True)
class Example:
  """One question put to the judge, its two candidates, and which one people preferred, if known."""

  id: str
  source: str  # the data set it came from
  task: str  # one of TASKS
  question: str  # the question; for generation tasks the caption
  media: tuple[
    Media, ...
  ] = ()  # generation: candidate 1, candidate 2. Understanding: the reference
  responses: tuple[str, ...] = ()  # understanding: answer 1, answer 2. Generation: empty
  gold: int | None = None  # 1 or 2
  reasoning: str | None = None  # a reference judgement, whole: reasoning and verdict
  attempts: int | None = None  # how many tries the teacher took; None: not asked
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what the source adds

  @property
  def generation(self):
    """Whether the candidates are the media themselves."""
    return self.task.endswith("generation")

  def swapped(self):
    """The same question in the other order. Its reference judgement, tied to an order, is gone."""
    return dataclasses.replace(
      self,
      media=self.media[::-1] if self.generation else self.media,
      responses=self.responses[::-1],
      gold=None if self.gold is None else 3 - self.gold,
      reasoning=None,
      extra={**self.extra, "swapped": not self.extra.get("swapped", False)},
    )


@dataclasses.dataclass(frozen=True)
class Completion:
  """One sampled answer. `logps` are of the model itself: before temperature, top-p and top-k."""

  text: str
  tokens: np.ndarray  # i32[T], the end-of-turn token included where there is one
  logps: np.ndarray  # f32[T]
  finish: str  # "stop": it ended its turn; "length": it was cut at max_tokens
  watched: np.ndarray | None = None  # f32[T, W]: of the watched tokens at each step, as `logps`
  drawn: np.ndarray | None = None  # f32[T]: of the distribution that was drawn from


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What a judgement says. `answer` is None where the text is outside its grammar."""

  answer: int | None  # 1, 2 or None
  reasoning: str = ""
  scores: tuple[tuple[str, float, float], ...] = ()  # (dimension, score of 1, score of 2)
  totals: tuple[float, float] | None = None  # the totals as written
  span: tuple[int, int] | None = None  # where in the text the verdict's digit stands
  error: str | None = None  # why answer is None
  probability: float | None = None  # P(answer), from the logits of the verdict's digit
  consistent: bool | None = None  # whether both orders name the same candidate
  votes: tuple[int, int, int] = (0, 0, 0)  # for 1, for 2, unparsable


@dataclasses.dataclass(frozen=True)
class Encoded:
  """One chat, ready for the model: what depends on the size of a picture is decided here.

  Patches stand in window order, picture after picture. `visual` points from a token to a merged
  patch (merge_size ** 2 consecutive patches make one).
  """

  id: str
  tokens: np.ndarray  # i32[T]
  positions: np.ndarray  # i32[T, 3]: M-RoPE's time, height, width
  visual: np.ndarray  # i32[T]: index of the merged patch that stands here; -1 for text
  next_position: int  # M-RoPE position of the token that would come next
  patches: np.ndarray  # u8[P, C], as the pictures are; P may be 0
  hw: np.ndarray  # i32[P, 2]: row and column of the patch in its frame
  windows: np.ndarray  # i32[P]: which window it is in, from 1
  frames: np.ndarray  # i32[P]: which frame (pair) it is in, from 1
  # f32[channels, 256]: what each byte of each channel is to the model. None: patches are f32 and
  # hold that themselves.
  numbers: np.ndarray | None = None

  def write_pixels(self, out_PC):
    """The patches as the model reads them, into f32[P, C]."""
    if self.numbers is None:
      out_PC[:] = self.patches
      return
    shape = len(self.patches), len(self.numbers), -1
    bytes_PKI, out_PKI = self.patches.reshape(shape), out_PC.reshape(shape)
    for channel, table in enumerate(self.numbers):
      table.take(bytes_PKI[:, channel], out=out_PKI[:, channel], mode="clip")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pictures:
  """The pictures of R prompts, padded. Segment 0 is padding."""

  patches: jax.Array  # f32[R, P, C]
  hw: jax.Array  # i32[R, P, 2]
  windows: jax.Array  # i32[R, P]: segment ids of the window layers
  frames: jax.Array  # i32[R, P]: segment ids of the full layers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """What a train step eats. Everything is aligned with `tokens`: at t stands what concerns token t.

  B is a multiple of R: row b reads the pictures of row b // (B // R).
  """

  tokens: jax.Array  # i32[B, T]
  positions: jax.Array  # i32[B, T, 3]
  segments: jax.Array  # i32[B, T]: which packed sequence, from 1; 0 is padding
  visual: jax.Array  # i32[B, T]: merged patch of its picture row; -1 for text
  mask: jax.Array  # f32[B, T]: 1 where token t is a target that counts
  pictures: Pictures | None = None  # None: no row has pictures
  old_logps: jax.Array | None = None  # f32[B, T], of the policy that sampled
  # f32[B, T], as the sampler computed them; set where old_logps are the trainer's own
  sampler_logps: jax.Array | None = None
  ref_logps: jax.Array | None = None  # f32[B, T], of the frozen reference
  advantages: jax.Array | None = None  # f32[B, T]
  # Set: the rows are answers only, and row b goes on from prompt b // (B // Q) of these Q; the
  # pictures are the prompts'.
  prompts: "Batch | None" = None
