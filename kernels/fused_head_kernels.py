"""The kernel bodies of `fused_head`: one tile of the vocabulary against all tokens.

N tokens, D width, v words of a tile, V vocabulary. Logits are transposed, [v, n] of a block of n.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from cot_rm.kernels import common

LOWEST = -1e30  # logit of a row after the last word


def _for_each_block(count: jax.Array, size: int, run: Callable[[pl.Slice], None]) -> None:
  """Calls run(rows) for each of the first `count` blocks of `size` tokens."""

  def step(i: jax.Array, _: None) -> None:
    run(pl.ds(pl.multiple_of(i * size, size), size))

  lax.fori_loop(0, count, step, None)


def _tile_index() -> tuple[jax.Array, jax.Array]:
  """(index of the tile among all tiles, whether it is this core's first)."""
  t = pl.program_id(1)
  return pl.program_id(0) * pl.num_programs(1) + t, t == 0


def _logits(w: jax.Array, x: jax.Array, temperature: float) -> jax.Array:
  """Logits [v, n] of a block of tokens, divided by the temperature."""
  s = common.matmul(w, x, common.NT)
  return s if temperature == 1 else s * (1 / temperature)


def forward(
  count_ref: jax.Ref,
  x_ref: jax.Ref,
  w_ref: jax.Ref,
  token_ref: jax.Ref,
  *out_refs: jax.Ref,
  words: int,
  temperature: float,
  block: int,
) -> None:
  """One tile of words against all tokens; the outputs cover this core's tiles so far.

  Args:
    count_ref: i32[1], blocks of tokens that are computed, the first ones.
    x_ref: hidden states [N, D].
    w_ref: the tile of the head [v, D].
    token_ref: word of each token [1, N].
    out_refs: [1, N], logit of each token's word, else 0; highest logit; sum of exp(s - highest).
    words: V.
    temperature: the logits are divided by it.
    block: tokens of a block.
  """
  picked_ref, max_ref, total_ref = out_refs
  j, is_first = _tile_index()
  tile = len(w_ref)
  remaining = words - j * tile  # words from this tile on

  @pl.when(is_first)
  def _begin():
    max_ref[...] = jnp.full_like(max_ref, LOWEST)
    for ref in (total_ref, picked_ref):
      ref[...] = jnp.zeros_like(ref)

  def run(rows: pl.Slice) -> None:
    s = _logits(w_ref[...], x_ref[rows, :], temperature)
    word = lax.broadcasted_iota(jnp.int32, s.shape, 0)
    exists = word < remaining
    s = jnp.where(exists, s, LOWEST)
    before = max_ref[:, rows]
    highest = jnp.maximum(before, s.max(0, keepdims=True))
    p, fade = jnp.exp(s - highest), jnp.exp(before - highest)
    total_ref[:, rows] = total_ref[:, rows] * fade + p.sum(0, keepdims=True)
    hit = (word == token_ref[:, rows] - j * tile) & exists
    picked_ref[:, rows] += jnp.where(hit, s, 0.0).sum(0, keepdims=True)
    max_ref[:, rows] = highest

  # Where the tiles do not divide evenly, the last core has one less.
  @pl.when(remaining > 0)
  def _run():
    _for_each_block(count_ref[0], block, run)


def backward(
  count_ref: jax.Ref,
  x_ref: jax.Ref,
  w_ref: jax.Ref,
  token_ref: jax.Ref,
  lse_ref: jax.Ref,
  g_ref: jax.Ref,
  *refs: jax.Ref,
  words: int,
  temperature: float,
  block: int,
  accumulate: bool,
) -> None:
  """Gradients of one tile: dx [N, D] is summed over tiles, dw [v, D] is written.

  Args:
    count_ref: see `forward`, as x_ref, w_ref, token_ref, words, temperature and block.
    lse_ref: log-sum-exp of each token's logits [1, N].
    g_ref: gradient of each token's log-probability, by the temperature [1, N].
    refs: with `accumulate` dw so far, float32; the outputs dx, float32, and dw; without
      `accumulate` the sum of dw, float32.
    accumulate: dw is added to its input.
  """
  # An accumulated dw is float32, and is its own sum.
  dw_in_ref, dx_ref, dw_ref, sum_ref = (*refs, refs[2]) if accumulate else (None, *refs)
  j, is_first = _tile_index()
  tile = len(w_ref)
  remaining = words - j * tile

  @pl.when(is_first)
  def _begin():
    dx_ref[...] = jnp.zeros_like(dx_ref)

  def run(rows: pl.Slice) -> None:
    x = x_ref[rows, :]
    s = _logits(w_ref[...], x, temperature)
    word = lax.broadcasted_iota(jnp.int32, s.shape, 0)
    hit = word == token_ref[:, rows] - j * tile
    ds = (jnp.where(hit, 1.0, 0.0) - jnp.exp(s - lse_ref[:, rows])) * g_ref[:, rows]
    w = w_ref[...]
    if words % tile:  # rows after the last word may hold anything, NaN included
      ds = jnp.where(word < remaining, ds, 0.0)
      w = jnp.where(lax.broadcasted_iota(jnp.int32, w.shape, 0) < remaining, w, 0)
    ds = ds.astype(x.dtype)
    sum_ref[...] += common.matmul(ds, x)
    dx_ref[rows, :] += common.matmul(ds, w, common.TN)

  @pl.when(remaining > 0)
  def _run():
    sum_ref[...] = dw_in_ref[...] if accumulate else jnp.zeros_like(sum_ref)
    _for_each_block(count_ref[0], block, run)
    if not accumulate:
      dw_ref[...] = sum_ref[...].astype(dw_ref.dtype)
