"""Attention of long rows for TPUs, forward and backward, by blocks that stay in VMEM.

B sequences, T query positions, S key positions, N heads, K kv heads, R = N / K, H head size; blocks
have q queries or k keys. Scores are kept in base 2, as 2^x is what the chip computes.

Forward: a kv head's keys and values lie in VMEM, and a block of queries goes through the blocks of
keys that it sees (the online softmax of arXiv:2205.14135). Backward, one kernel: scores are made
once, transposed, [k, q], so that each of the four products behind them takes its operands as they
lie; the queries' gradient of a head, and the keys' and values' of a kv head, are sums in VMEM.

Heads that do not fill lanes lie across them, [H, q]: 80 numbers are 80 rows that pass through a
unit of products, where as its columns they take the time of 128.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import block_mask, products

LANES = 128
VMEM = 100 << 20  # bytes that a kernel may take; the compiler's own bound is for small ones
MASKED = -1e30  # a score that does not count
LOWEST = -1e29  # where a row's highest score begins: what is masked is far below it
LOG2E = math.log2(math.e)


def flash_attention_ref(
  q_BTNH, k_BSKH, v_BSKH, segments_BT=None, segments_BS=None, *, causal=True, offset=0
):
  """The definition. A query sees keys of its own segment, if causal none behind its position.

  Args:
    segments_BT, segments_BS: i32; None: all are of one segment.
    offset: the position of the first query, the first key's being 0.

  Returns:
    (o_BTNH, lse_BTN f32): a query that sees nothing has 0 and -inf.
  """
  B, T, N, H = q_BTNH.shape
  S, K = k_BSKH.shape[1:3]
  q_BTKRH = q_BTNH.reshape(B, T, K, N // K, H)
  product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
  s_BTKRS = product("BTKRH,BSKH->BTKRS", q_BTKRH, k_BSKH) * H**-0.5
  mask_BTS = jnp.ones((B, T, S), bool)
  if segments_BT is not None:
    mask_BTS = segments_BT[:, :, None] == segments_BS[:, None, :]
  if causal:
    mask_BTS &= (jnp.arange(T)[:, None] + offset >= jnp.arange(S)[None])[None]
  s_BTKRS = jnp.where(mask_BTS[:, :, None, None], s_BTKRS, -jnp.inf)
  top_BTKR1 = jnp.maximum(s_BTKRS.max(-1, keepdims=True), LOWEST)
  p_BTKRS = jnp.exp(s_BTKRS - top_BTKR1)
  total_BTKR1 = p_BTKRS.sum(-1, keepdims=True)
  p_BTKRS = (p_BTKRS / jnp.where(total_BTKR1 > 0, total_BTKR1, 1)).astype(v_BSKH.dtype)
  o_BTKRH = product("BTKRS,BSKH->BTKRH", p_BTKRS, v_BSKH)
  lse_BTKR1 = jnp.where(total_BTKR1 > 0, top_BTKR1 + jnp.log(total_BTKR1), -jnp.inf)
  return o_BTKRH.reshape(B, T, N, H).astype(q_BTNH.dtype), lse_BTKR1.reshape(B, T, N)


def _steps(ends, at, block):
  """Runs block(j, masked) over a row's blocks: those before, in and behind the full ones."""
  loop = lambda lo, hi, masked: lax.fori_loop(
    lo, hi, lambda j, _: (block(j, masked), None)[1], None
  )
  loop(ends[0, at], ends[1, at], True)
  loop(ends[1, at], ends[2, at], False)
  loop(ends[2, at], ends[3, at], True)


def _column(row, width):
  """[n, width] of [1, n]: each number beside itself."""
  return jnp.broadcast_to(row, (width, row.shape[1])).T


def _wide(x, width):
  """[n, LANES] of equal columns to [n, width]."""
  return jnp.concatenate([x] * (width // LANES), axis=1) if width > LANES else x[:, :width]


def _masked(s, column, row, ahead, *, queries):
  """Scores, MASKED where a query does not see a key.

  Args:
    column, row: segments along s's first axis [n, LANES], and along its second [1, m].
    ahead: the first query's position less the first key's; None: not causal.
    queries: which axis of s is theirs.
  """
  mask = _wide(column, s.shape[1]) == row
  if ahead is not None:
    at = lambda axis: lax.broadcasted_iota(jnp.int32, s.shape, axis)
    mask &= at(queries) + ahead >= at(1 - queries)
  return jnp.where(mask, s, MASKED)


def _forward_kernel(
  ends, q_ref, k_ref, v_ref, qs_ref, ks_ref, o_ref, lse_ref, sum_ref, top_ref, total_ref, seen_ref,
  *, block_k, causal, offset,
):  # fmt: skip
  """A head's block of queries. q [q, H], scaled; k, v [S, H]; qs [1, q], ks [1, S]: segments."""
  b, i = pl.program_id(0), pl.program_id(3)
  block_q = q_ref.shape[0]
  top_ref[...] = jnp.full_like(top_ref, LOWEST)
  total_ref[...] = jnp.zeros_like(total_ref)
  sum_ref[...] = jnp.zeros_like(sum_ref)
  seen_ref[...] = _column(qs_ref[...], LANES)

  def block(j, masked):
    keys = pl.ds(pl.multiple_of(j * block_k, block_k), block_k)
    s = products.dot(q_ref[...], k_ref[keys, :], products.NT)
    if masked:
      ahead = i * block_q + offset - j * block_k if causal else None
      s = _masked(s, seen_ref[...], ks_ref[:, keys], ahead, queries=0)
    before = top_ref[...]
    top = jnp.maximum(before, s.max(1, keepdims=True))
    p = jnp.exp2(s - _wide(top, block_k))
    fade = jnp.exp2(before - top)
    # A lane's own sum: they are added up once, at the end.
    part = functools.reduce(jnp.add, [p[:, c : c + LANES] for c in range(0, block_k, LANES)])
    top_ref[...], total_ref[...] = top, total_ref[...] * fade + part
    new = products.dot(p.astype(v_ref.dtype), v_ref[keys, :])
    sum_ref[...] = sum_ref[...] * _wide(fade, sum_ref.shape[1]) + new

  _steps(ends, b * pl.num_programs(3) + i, block)
  total = total_ref[...].sum(1, keepdims=True)
  # A power of 2 is one instruction where a quotient is ten.
  log, seen = jnp.log2(total), total > 0
  o_ref[...] = (sum_ref[...] * jnp.where(seen, jnp.exp2(-log), 0.0)).astype(o_ref.dtype)
  lse_ref[...] = (top_ref[...] + log).T[:1]  # -inf where it has seen nothing


def _backward_kernel(
  ends, q_ref, k_ref, kt_ref, v_ref, do_ref, lse_ref, delta_ref, qs_ref, ks_ref, dq_ref, dk_ref,
  dv_ref, dq_sum, dk_sum, dv_sum, seen_ref,
  *, block_q, causal, offset, across,
):  # fmt: skip
  """A block of keys against a head's queries. q, do [T, H], q scaled; k, v [k, H]; kt [H, k].

  across: q, do, dk and dv are [H, T] and [H, k].
  """
  b, r, j = pl.program_id(0), pl.program_id(2), pl.program_id(3)
  block_k = k_ref.shape[0]
  some = lambda positions: (slice(None), positions) if across else (positions, slice(None))
  here = some(pl.ds(pl.multiple_of(j * block_k, block_k), block_k))
  scores = functools.partial(products.dot, how=products.NN if across else products.NT)
  gradient = lambda p, x: products.dot(x, p, products.NT) if across else products.dot(p, x)

  @pl.when(j == 0)
  def _():
    dq_sum[...] = jnp.zeros_like(dq_sum)

  @pl.when(r == 0)
  def _():
    for total, part in ((dk_sum, dk_ref), (dv_sum, dv_ref)):
      total[here] = jnp.zeros(part.shape, jnp.float32)

  seen_ref[...] = _column(ks_ref[...], LANES)

  def block(i, masked):
    rows = pl.ds(pl.multiple_of(i * block_q, block_q), block_q)
    q, do = q_ref[some(rows)], do_ref[some(rows)]
    s = scores(k_ref[...], q)
    if masked:
      ahead = i * block_q + offset - j * block_k if causal else None
      s = _masked(s, seen_ref[...], qs_ref[:, rows], ahead, queries=1)
    p = jnp.exp2(s - lse_ref[:, rows])
    dv_sum[here] += gradient(p.astype(do.dtype), do)
    ds = (p * (scores(v_ref[...], do) - delta_ref[:, rows])).astype(q.dtype)
    dk_sum[here] += gradient(ds, q)
    dq_sum[:, rows] += products.dot(kt_ref[...], ds)

  _steps(ends, b * pl.num_programs(3) + j, block)

  @pl.when(j == pl.num_programs(3) - 1)
  def _():
    dq_ref[...] = (dq_sum[...] * dq_ref.shape[0] ** -0.5).astype(dq_ref.dtype)

  @pl.when(r == pl.num_programs(2) - 1)
  def _():
    dk_ref[...] = (dk_sum[here] / LOG2E).astype(dk_ref.dtype)
    dv_ref[...] = dv_sum[here].astype(dv_ref.dtype)


def _call(kernel, name, ends, grid, inputs, outputs, scratch, interpret):
  """A pallas_call over [B, K, R, blocks]; inputs and outputs are (array or shape, block, index)."""
  specs = lambda some: [pl.BlockSpec(block, index) for _, block, index in some]
  return pl.pallas_call(
    kernel,
    out_shape=[shape for shape, _, _ in outputs],
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=1,
      grid=grid,
      in_specs=specs(inputs),
      out_specs=specs(outputs),
      scratch_shapes=scratch,
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary"),
      vmem_limit_bytes=VMEM,
    ),
    interpret=interpret,
    name=name,
  )(ends, *[x for x, _, _ in inputs])


def _forward(q_BNTH, k_BKSH, v_BKSH, segments, spans, *, causal, offset, interpret):
  """(o_BNTH, lse_BN1T in base 2) of whole blocks of positions."""
  B, N, T, H = q_BNTH.shape
  K, S = k_BKSH.shape[1:3]
  R, q, k = N // K, T // spans[0].shape[1], S // spans[0].shape[2]
  head = lambda b, g, r, i, _: (b, g * R + r, i, 0)
  shared = lambda b, g, r, i, _: (b, g, 0, 0)
  whole = (None, None, S, H)
  inputs = [
    (q_BNTH, (None, None, q, H), head),
    (k_BKSH, whole, shared),
    (v_BKSH, whole, shared),
    (segments[0][:, None], (None, 1, q), lambda b, g, r, i, _: (b, 0, i)),
    (segments[1][:, None], (None, 1, S), lambda b, g, r, i, _: (b, 0, 0)),
  ]
  row = lambda b, g, r, i, _: (b, g * R + r, 0, i)
  outputs = [
    (jax.ShapeDtypeStruct(q_BNTH.shape, q_BNTH.dtype), (None, None, q, H), head),
    (jax.ShapeDtypeStruct((B, N, 1, T), jnp.float32), (None, None, 1, q), row),
  ]
  some = lambda width, dtype=jnp.float32: pltpu.VMEM((q, width), dtype)
  kernel = functools.partial(_forward_kernel, block_k=k, causal=causal, offset=offset)
  scratch = [some(H), some(LANES), some(LANES), some(LANES, jnp.int32)]
  grid = B, K, R, T // q
  return _call(
    kernel, "flash_forward", block_mask.ends(*spans), grid, inputs, outputs, scratch, interpret
  )


def _backward(
  q_BNTH, k_BKSH, v_BKSH, do_BNTH, lse_BN1T, delta_BN1T, segments, spans, *, causal, offset,
  interpret,
):  # fmt: skip
  """(dq_BNTH, dk_BKSH, dv_BKSH); dq is that of the queries before they were scaled."""
  B, N, T, H = q_BNTH.shape
  K, S = k_BKSH.shape[1:3]
  R, q, k = N // K, T // spans[0].shape[1], S // spans[0].shape[2]
  across = H % LANES > 0
  turn = lambda x: x.swapaxes(2, 3) if across else x
  some = lambda *sizes: sizes[::-1] if across else sizes  # of positions and a head's
  head = lambda b, g, r, j, _: (b, g * R + r, 0, 0)
  keys = lambda b, g, r, j, _: (b, g, j, 0)
  # Sums over a group's heads are written with its last: until then one block stands there.
  last = lambda b, g, r, j, _: (b, g, *some(jnp.where(r == R - 1, j, 0), 0))
  rows, row, part = (None, None, *some(T, H)), (None, None, 1, T), (None, None, k, H)
  inputs = [
    (turn(q_BNTH), rows, head),
    (k_BKSH, part, keys),
    (k_BKSH.swapaxes(2, 3), (None, None, H, k), lambda b, g, r, j, _: (b, g, 0, j)),
    (v_BKSH, part, keys),
    (turn(do_BNTH), rows, head),
    (lse_BN1T, row, head),
    (delta_BN1T, row, head),
    (segments[0][:, None], (None, 1, T), lambda b, g, r, j, _: (b, 0, 0)),
    (segments[1][:, None], (None, 1, k), lambda b, g, r, j, _: (b, 0, j)),
  ]
  sums = jax.ShapeDtypeStruct((B, K, *some(S, H)), k_BKSH.dtype)
  outputs = [
    (jax.ShapeDtypeStruct((B, N, H, T), q_BNTH.dtype), (None, None, H, T), head),
    *[(sums, (None, None, *some(k, H)), last)] * 2,
  ]
  scratch = [
    pltpu.VMEM((H, T), jnp.float32),
    *[pltpu.VMEM(some(S, H), jnp.float32)] * 2,
    pltpu.VMEM((k, LANES), jnp.int32),
  ]
  kernel = functools.partial(
    _backward_kernel, block_q=q, causal=causal, offset=offset, across=across
  )
  ends = block_mask.ends(*(x.swapaxes(1, 2) for x in spans))
  dq_BNHT, dk, dv = _call(
    kernel, "flash_backward", ends, (B, K, R, S // k), inputs, outputs, scratch, interpret
  )
  return dq_BNHT.swapaxes(2, 3), turn(dk), turn(dv)


def _pad(x, block, axis, value=0):
  more = [(0, 0)] * x.ndim
  more[axis] = (0, -x.shape[axis] % block)
  return jnp.pad(x, more, constant_values=value) if more[axis][1] else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _flash(q_BNTH, k_BKSH, v_BKSH, segments, causal, offset, interpret):
  return _flash_forward(q_BNTH, k_BKSH, v_BKSH, segments, causal, offset, interpret)[0]


def _flash_forward(q_BNTH, k_BKSH, v_BKSH, segments, causal, offset, interpret):
  """((o_BNTH, lse_BNT in base 2), what the backward pass needs); q as it comes."""
  H = q_BNTH.shape[-1]
  scaled_BNTH = (q_BNTH.astype(jnp.float32) * (H**-0.5 * LOG2E)).astype(q_BNTH.dtype)
  outs = []
  for q, ks in block_mask.pairs(q_BNTH.shape[2], k_BKSH.shape[2], causal, offset):
    o_BNTH = lse_BN1T = None
    for k in ks:
      some, spans, apart = block_mask.seen(segments, q, k, causal, offset)
      given = scaled_BNTH[:, :, q], k_BKSH[:, :, k], v_BKSH[:, :, k]
      new = _forward(*given, some, spans, causal=causal, offset=apart, interpret=interpret)
      o_BNTH, lse_BN1T = new if o_BNTH is None else _merged((o_BNTH, lse_BN1T), new)
    outs.append((o_BNTH, lse_BN1T[:, :, 0]))
  o_BNTH, lse_BNT = (jnp.concatenate(x, axis=2) for x in zip(*outs, strict=True))
  return (o_BNTH, lse_BNT), (scaled_BNTH, k_BKSH, v_BKSH, segments, o_BNTH, lse_BNT)


def _merged(one, other):
  """Attention over two parts of the keys, from that over each."""
  top = jnp.maximum(jnp.maximum(one[1], other[1]), LOWEST)
  shares = [jnp.exp2(lse - top) for _, lse in (one, other)]
  total = shares[0] + shares[1]
  part = lambda o, share: o * (share / jnp.where(total > 0, total, 1)).swapaxes(2, 3)
  o = part(one[0], shares[0]) + part(other[0], shares[1])
  return o.astype(one[0].dtype), jnp.where(total > 0, top + jnp.log2(total), -jnp.inf)


def _flash_backward(causal, offset, interpret, saved, given):
  scaled_BNTH, k_BKSH, v_BKSH, segments, o_BNTH, lse_BNT = saved
  do_BNTH, dlse_BNT = given
  product = do_BNTH.astype(jnp.float32) * o_BNTH.astype(jnp.float32)
  delta_BN1T = (product.sum(-1) - dlse_BNT * LOG2E)[:, :, None]
  lse_BN1T = jnp.where(jnp.isneginf(lse_BNT), -MASKED, lse_BNT)[:, :, None]
  dq, dk, dv = [], jnp.zeros(k_BKSH.shape, jnp.float32), jnp.zeros(v_BKSH.shape, jnp.float32)
  for q, ks in block_mask.pairs(scaled_BNTH.shape[2], k_BKSH.shape[2], causal, offset):
    sums = []
    for k in ks:
      some, spans, apart = block_mask.seen(segments, q, k, causal, offset)
      dq_part, dk_part, dv_part = _backward(
        scaled_BNTH[:, :, q],
        k_BKSH[:, :, k],
        v_BKSH[:, :, k],
        do_BNTH[:, :, q],
        lse_BN1T[..., q],
        delta_BN1T[..., q],
        some,
        spans,
        causal=causal,
        offset=apart,
        interpret=interpret,
      )
      sums.append(dq_part.astype(jnp.float32))
      dk, dv = dk.at[:, :, k].add(dk_part), dv.at[:, :, k].add(dv_part)
    dq.append(sum(sums))
  dq = jnp.concatenate(dq, axis=2)
  return dq.astype(scaled_BNTH.dtype), dk.astype(k_BKSH.dtype), dv.astype(v_BKSH.dtype), None


_flash.defvjp(_flash_forward, _flash_backward)


def flash_attention(
  q_BTNH, k_BSKH, v_BSKH, segments_BT=None, segments_BS=None, *, causal=True, offset=0,
  interpret=False,
):  # fmt: skip
  """Equal to `flash_attention_ref`, on a TPU; never holds [T, S] scores.

  interpret: as pallas_call takes it, to run it elsewhere.

  Returns:
    (o_BTNH, lse_BTN f32), both differentiable in q, k and v.
  """
  T, S = q_BTNH.shape[1], k_BSKH.shape[1]
  if segments_BT is None:
    segments_BT, segments_BS = (jnp.ones(x.shape[:2], jnp.int32) for x in (q_BTNH, k_BSKH))
  q, k = block_mask.block(T), block_mask.block(S)
  # What is padded sees nothing and is not seen.
  segments = _pad(segments_BT, q, 1, -1), _pad(segments_BS, k, 1, -2)
  q_BNTH = _pad(q_BTNH.swapaxes(1, 2), q, 2)
  k_BKSH, v_BKSH = (_pad(x.swapaxes(1, 2), k, 2) for x in (k_BSKH, v_BSKH))
  o_BNTH, lse_BNT = _flash(q_BNTH, k_BKSH, v_BKSH, segments, causal, offset, interpret)
  return o_BNTH[:, :, :T].swapaxes(1, 2), lse_BNT[:, :, :T].swapaxes(1, 2) / LOG2E
