"""Model inputs: an encoded prompt, padded pictures, and the batch of one train step.

B sequences, T tokens, R rows of pictures (one row per prompt), P patches, C values per patch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np


class Size(NamedTuple):
  """Lengths of an encoded prompt."""

  tokens: int  # T
  patches: int  # P


@dataclasses.dataclass(frozen=True)
class Encoded:
  """A prompt after tokenizing and image preprocessing, in numpy and without padding.

  Patches are in window order, picture after picture. `visual` maps a token to its merged patch
  (`patches_per_token` consecutive patches form one merged patch).
  """

  id: str  # of the example; errors name it
  tokens: np.ndarray  # i32[T]
  positions: np.ndarray  # i32[T, 3]: M-RoPE's time, height, width
  visual: np.ndarray  # i32[T]: index of the token's merged patch; -1 for text
  # M-RoPE position of the first token after the prompt. The prompt ends with text, so it is one
  # more than that of the last token.
  next_position: int
  patches_per_token: int  # patches in one merged patch: the family's merge_size ** 2
  patches: np.ndarray  # u8[P, C] raw pixels, or f32[P, C] where `pixel_values` is None; P may be 0
  hw: np.ndarray  # i32[P, 2]: row and column of the patch in its frame
  windows: np.ndarray  # i32[P]: window id of the patch, from 1
  frames: np.ndarray  # i32[P]: frame (pair) id of the patch, from 1
  pixel_values: np.ndarray | None = None  # f32[channels, 256]: normalized value of each byte

  def extended(self, tokens: Sequence[int]) -> Encoded:
    """The prompt with the first tokens of its answer: text, at the positions that follow."""
    count = len(tokens)
    following = np.arange(self.next_position, self.next_position + count, dtype=np.int32)
    return dataclasses.replace(
      self,
      tokens=np.concatenate([self.tokens, np.asarray(tokens, np.int32)]),
      positions=np.concatenate([self.positions, np.repeat(following[:, None], 3, axis=1)]),
      visual=np.concatenate([self.visual, np.full(count, -1, np.int32)]),
      next_position=self.next_position + count,
    )

  def write_pixels(self, out_PC: np.ndarray) -> None:
    """Writes the normalized patches into f32[P, C]."""
    if self.pixel_values is None or not len(self.patches):
      out_PC[:] = self.patches
      return
    shape = len(self.patches), len(self.pixel_values), -1
    bytes_PKI, out_PKI = self.patches.reshape(shape), out_PC.reshape(shape)
    for channel, table in enumerate(self.pixel_values):
      table.take(bytes_PKI[:, channel], out=out_PKI[:, channel], mode="clip")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pictures:
  """The pictures of R prompts, padded. Segment id 0 is padding."""

  patches: jax.Array | np.ndarray  # f32[R, P, C]
  hw: jax.Array | np.ndarray  # i32[R, P, 2]
  windows: jax.Array | np.ndarray  # i32[R, P]: segment ids of the window-attention layers
  frames: jax.Array | np.ndarray  # i32[R, P]: segment ids of the full-attention layers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Input of one train step. In every field [B, T, ...], index t describes the token at t.

  B is a multiple of R, the rows of `pictures`: row b reads picture row b // (B // R).
  """

  tokens: jax.Array | np.ndarray  # i32[B, T]
  positions: jax.Array | np.ndarray  # i32[B, T, 3]: M-RoPE's time, height, width
  segments: jax.Array | np.ndarray  # i32[B, T]: packed-sequence id, from 1; 0 is padding
  visual: jax.Array | np.ndarray  # i32[B, T]: merged patch in its picture row; -1 for text
  mask: jax.Array | np.ndarray  # f32[B, T]: 1 where the token is a target of the loss
  pictures: Pictures | None = None  # None: no row has pictures
  old_logps: jax.Array | np.ndarray | None = None  # f32[B, T], of the policy that sampled
  # f32[B, T], as the sampler computed them; set where old_logps are the trainer's own
  sampler_logps: jax.Array | np.ndarray | None = None
  ref_logps: jax.Array | np.ndarray | None = None  # f32[B, T], of the frozen reference
  advantages: jax.Array | np.ndarray | None = None  # f32[B, T]
  # Set: the rows hold answers only. Row b continues prompt b // (B // Q) of these Q prompts, and
  # the pictures belong to the prompts.
  prompts: Batch | None = None
