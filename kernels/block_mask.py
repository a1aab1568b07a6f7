"""Which blocks of queries and of keys see one another, and how large they are.

B sequences, T query positions, S key positions; blocks have q queries or k keys.
"""

import jax.numpy as jnp

from cot_rm.kernels import blocks

BLOCK = None  # queries, and keys, at a time; None: what is best by blocks.BEST
LONGEST = 8192  # positions that lie in VMEM at a time; rows that are longer have whole BLOCKs
LANES = 128


def block(length):
  """Positions of a block: whole lanes, BLOCK at most, little more than `length` in all.

  The same for what is padded to it, as rows of blocks.BEST end with whole blocks.
  """
  count = -(-length // (BLOCK or blocks.best("flash_attention", length)))
  return -(-length // (count * LANES)) * LANES


def pairs(T, S, causal, offset):
  """Parts of queries and of keys that lie in VMEM together, and that see one another."""
  parts = lambda length: [slice(at, min(at + LONGEST, length)) for at in range(0, length, LONGEST)]
  return [
    (q, [k for k in parts(S) if not causal or k.start <= q.stop - 1 + offset]) for q in parts(T)
  ]


def seen(segments, q, k, causal, offset):
  """Of a part: (segments, which blocks see one another, the offset)."""
  some = segments[0][:, q], segments[1][:, k]
  sizes = [block(x.shape[1]) for x in segments]
  limits = []
  for x, size in zip(some, sizes, strict=True):
    parts = x.reshape(len(x), -1, size)
    limits += [parts.min(-1), parts.max(-1)]
  offset += q.start - k.start
  return some, spans(*limits, *sizes, causal, offset), offset


def spans(first_BT, last_BT, first_BS, last_BS, block_q, block_k, causal, offset):
  """need, full: bool[B, T / q, S / k], which blocks see any of one another, and which see all."""
  need = (first_BS[:, None] <= last_BT[..., None]) & (last_BS[:, None] >= first_BT[..., None])
  alike = (first_BT == last_BT)[..., None] & (first_BS == last_BS)[:, None]
  full = alike & (first_BT[..., None] == first_BS[:, None])
  if causal:
    i, j = jnp.arange(need.shape[1])[:, None], jnp.arange(need.shape[2])[None]
    need &= (j * block_k <= i * block_q + block_q - 1 + offset)[None]
    full &= (j * block_k + block_k - 1 <= i * block_q + offset)[None]
  return need, full


def ends(need, full):
  """i32[4, B * rows]: from..to of what a row needs, and of what within it needs no mask."""
  count = need.shape[-1]
  first = lambda x: jnp.argmax(x, -1)
  last = lambda x: count - jnp.argmax(x[..., ::-1], -1)
  some = need.any(-1)
  start, end = jnp.where(some, first(need), 0), jnp.where(some, last(need), 0)
  inner, outer = first(full), last(full)
  whole = full.any(-1) & (full.sum(-1) == outer - inner)
  inner, outer = jnp.where(whole, inner, end), jnp.where(whole, outer, end)
  return jnp.stack([x.reshape(-1).astype(jnp.int32) for x in (start, inner, outer, end)])
