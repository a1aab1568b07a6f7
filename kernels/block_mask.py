"""Block masks of attention: the blocks of queries and of keys that see one another.

B sequences, T query positions, S key positions; blocks of q queries and of k keys.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cot_rm.kernels import common

BLOCK: int | None = None  # positions of a block; None: common.BLOCK_SIZES
MAX_VMEM_LENGTH = 8192  # positions in VMEM at a time; longer rows are made of whole BLOCKs


class BlockMask(NamedTuple):
  """Visibility of each block of keys from each block of queries, bool[B, T / q, S / k]."""

  needed: jax.Array  # at least one query sees a key
  full: jax.Array  # every query sees every key, so that no mask is applied


class BlockSegments(NamedTuple):
  """Segment ids in the n blocks of a row."""

  lowest_Bn: jax.Array  # i32
  highest_Bn: jax.Array  # i32
  size: int  # positions of a block


def block_length(length: int) -> int:
  """Positions per block for rows of `length`: a multiple of LANES, at most BLOCK or the chip's.

  Chosen so that padding to whole blocks is small. The padded length gets the same block length.
  """
  count = -(-length // (BLOCK or common.block_size("flash_attention", length)))
  return -(-length // (count * common.LANES)) * common.LANES


def visible_parts(T: int, S: int, causal: bool, offset: int) -> list[tuple[slice, list[slice]]]:
  """Parts of queries that fit VMEM, each with the parts of keys that it sees.

  Args:
    T: query positions.
    S: key positions.
    causal: whether a query sees no key after its own position.
    offset: position of the first query, the first key's being 0.
  """
  return [
    (queries, [keys for keys in _parts(S) if not causal or keys.start <= queries.stop - 1 + offset])
    for queries in _parts(T)
  ]


def _parts(length: int) -> list[slice]:
  """Slices of at most MAX_VMEM_LENGTH positions."""
  starts = range(0, length, MAX_VMEM_LENGTH)
  return [slice(start, min(start + MAX_VMEM_LENGTH, length)) for start in starts]


def part_mask(
  segments: tuple[jax.Array, jax.Array], queries: slice, keys: slice, causal: bool, offset: int
) -> tuple[tuple[jax.Array, jax.Array], BlockMask, int]:
  """Segments and mask of attention between a slice of the queries and a slice of the keys.

  Args:
    segments: segment ids, i32[B, T] of the queries and i32[B, S] of the keys.
    queries: slice of the query positions.
    keys: slice of the key positions.
    causal: see `visible_parts`.
    offset: see `visible_parts`.

  Returns:
    (both segment arrays sliced, their BlockMask, `offset` relative to the two slices).
  """
  parts = segments[0][:, queries], segments[1][:, keys]
  sizes = [block_length(x.shape[1]) for x in parts]
  ranges = []
  for x, size in zip(parts, sizes, strict=True):
    blocks = x.reshape(len(x), -1, size)
    ranges.append(BlockSegments(blocks.min(-1), blocks.max(-1), size))
  offset += queries.start - keys.start
  return parts, block_mask(*ranges, causal, offset), offset


def block_mask(queries: BlockSegments, keys: BlockSegments, causal: bool, offset: int) -> BlockMask:
  """BlockMask of attention within segments; see `visible_parts` for causal and offset."""
  first_Bq, last_Bq, block_q = queries
  first_Bk, last_Bk, block_k = keys
  needed = (first_Bk[:, None] <= last_Bq[..., None]) & (last_Bk[:, None] >= first_Bq[..., None])
  uniform = (first_Bq == last_Bq)[..., None] & (first_Bk == last_Bk)[:, None]
  full = uniform & (first_Bq[..., None] == first_Bk[:, None])
  if causal:
    i, j = jnp.arange(needed.shape[1])[:, None], jnp.arange(needed.shape[2])[None]
    needed &= (j * block_k <= i * block_q + block_q - 1 + offset)[None]
    full &= (j * block_k + block_k - 1 <= i * block_q + offset)[None]
  return BlockMask(needed, full)


def block_ranges(mask: BlockMask) -> jax.Array:
  """Loop bounds of a kernel over each row of blocks, i32[4, B * rows].

  The four are start <= inner <= outer <= end: blocks start..end - 1 are needed, and among these the
  blocks inner..outer - 1 are full.
  """
  needed, full = mask
  any_needed = needed.any(-1)
  start = jnp.where(any_needed, _first(needed), 0)
  end = jnp.where(any_needed, _behind_last(needed), 0)
  inner, outer = _first(full), _behind_last(full)
  contiguous = full.any(-1) & (full.sum(-1) == outer - inner)
  inner, outer = jnp.where(contiguous, inner, end), jnp.where(contiguous, outer, end)
  return jnp.stack([x.reshape(-1).astype(jnp.int32) for x in (start, inner, outer, end)])


def _first(flags: jax.Array) -> jax.Array:
  """Index of the first True along the last axis."""
  return jnp.argmax(flags, -1)


def _behind_last(flags: jax.Array) -> jax.Array:
  """One more than the index of the last True along the last axis."""
  return flags.shape[-1] - jnp.argmax(flags[..., ::-1], -1)
