"""Attention of long rows for TPUs, with its gradients; never holds [T, S] scores.

B sequences, T query positions, S key positions, N heads, K kv heads, R = N / K, H head size. The
kernels are in flash_kernels.py, the blocks that they skip in block_mask.py.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas import tpu as pltpu

from cot_rm.kernels import block_mask, flash_kernels
from cot_rm.kernels.flash_kernels import LOG2E, LOWEST, MASKED, Segments, Settings


def flash_attention_ref(
  q_BTNH: jax.Array,
  k_BSKH: jax.Array,
  v_BSKH: jax.Array,
  segments_BT: jax.Array | None = None,
  segments_BS: jax.Array | None = None,
  *,
  causal: bool = True,
  offset: int = 0,
) -> tuple[jax.Array, jax.Array]:
  """The definition: grouped-query attention within segments, with log-sum-exps.

  Args:
    q_BTNH: queries.
    k_BSKH: keys.
    v_BSKH: values.
    segments_BT: i32, segment ids of the queries; None: one segment.
    segments_BS: i32, segment ids of the keys; a query sees only keys of its own segment.
    causal: whether a query sees no key after its own position.
    offset: position of the first query, the first key's being 0.

  Returns:
    (o_BTNH, lse_BTN f32); a query that sees no key has 0 and -inf.
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


def _padded(x: jax.Array, block: int, axis: int, value: int = 0) -> jax.Array:
  """An array with its axis padded to whole blocks."""
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, -x.shape[axis] % block)
  return jnp.pad(x, widths, constant_values=value) if widths[axis][1] else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _flash(
  q_BNTH: jax.Array,
  k_BKSH: jax.Array,
  v_BKSH: jax.Array,
  segments: Segments,
  settings: Settings,
) -> tuple[jax.Array, jax.Array]:
  """(o_BNTH, lse_BNT in base 2) of whole blocks; q before scaling."""
  return _flash_forward(q_BNTH, k_BKSH, v_BKSH, segments, settings)[0]


def _flash_forward(q_BNTH, k_BKSH, v_BKSH, segments, settings):
  """(outputs of `_flash`, residuals of `_flash_backward`)."""
  H = q_BNTH.shape[-1]
  scaled_BNTH = (q_BNTH.astype(jnp.float32) * (H**-0.5 * LOG2E)).astype(q_BNTH.dtype)
  outputs = []
  parts = block_mask.visible_parts(
    q_BNTH.shape[2], k_BKSH.shape[2], settings.causal, settings.offset
  )
  for queries, key_parts in parts:
    merged = None
    for keys in key_parts:
      part_segments, mask, part_settings = _part(segments, queries, keys, settings)
      qkv = scaled_BNTH[:, :, queries], k_BKSH[:, :, keys], v_BKSH[:, :, keys]
      new = flash_kernels.forward(qkv, part_segments, mask, part_settings)
      merged = new if merged is None else _merged(merged, new)
    o_BNTH, lse_BN1T = merged
    outputs.append((o_BNTH, lse_BN1T[:, :, 0]))
  o_BNTH, lse_BNT = (jnp.concatenate(x, axis=2) for x in zip(*outputs, strict=True))
  return (o_BNTH, lse_BNT), (scaled_BNTH, k_BKSH, v_BKSH, segments, o_BNTH, lse_BNT)


def _part(
  segments: Segments, queries: slice, keys: slice, settings: Settings
) -> tuple[Segments, block_mask.BlockMask, Settings]:
  """Segments, mask and settings for a slice of the queries and a slice of the keys."""
  part_segments, mask, offset = block_mask.part_mask(
    segments, queries, keys, settings.causal, settings.offset
  )
  return part_segments, mask, dataclasses.replace(settings, offset=offset)


def _merged(
  first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  """Combines attention over two parts of the keys, (o_BNTH, lse_BN1T) each, to that over both."""
  top = jnp.maximum(jnp.maximum(first[1], second[1]), LOWEST)
  weights = [jnp.exp2(lse - top) for _, lse in (first, second)]
  total = weights[0] + weights[1]

  def weighted(o: jax.Array, weight: jax.Array) -> jax.Array:
    return o * (weight / jnp.where(total > 0, total, 1)).swapaxes(2, 3)

  o = weighted(first[0], weights[0]) + weighted(second[0], weights[1])
  return o.astype(first[0].dtype), jnp.where(total > 0, top + jnp.log2(total), -jnp.inf)


def _flash_backward(settings, residuals, gradients):
  scaled_BNTH, k_BKSH, v_BKSH, segments, o_BNTH, lse_BNT = residuals
  do_BNTH, dlse_BNT = gradients
  product = do_BNTH.astype(jnp.float32) * o_BNTH.astype(jnp.float32)
  delta_BN1T = (product.sum(-1) - dlse_BNT * LOG2E)[:, :, None]
  lse_BN1T = jnp.where(jnp.isneginf(lse_BNT), -MASKED, lse_BNT)[:, :, None]
  dq, dk, dv = [], jnp.zeros(k_BKSH.shape, jnp.float32), jnp.zeros(v_BKSH.shape, jnp.float32)
  parts = block_mask.visible_parts(
    scaled_BNTH.shape[2], k_BKSH.shape[2], settings.causal, settings.offset
  )
  for queries, key_parts in parts:
    dq_parts = []
    for keys in key_parts:
      part_segments, mask, part_settings = _part(segments, queries, keys, settings)
      k_part, v_part = k_BKSH[:, :, keys], v_BKSH[:, :, keys]
      rows = flash_kernels.QueryRows(
        scaled_BNTH[:, :, queries],
        do_BNTH[:, :, queries],
        lse_BN1T[..., queries],
        delta_BN1T[..., queries],
      )
      dq_part, dk_part, dv_part = flash_kernels.backward(
        rows, k_part, v_part, part_segments, mask, part_settings
      )
      dq_parts.append(dq_part.astype(jnp.float32))
      dk, dv = dk.at[:, :, keys].add(dk_part), dv.at[:, :, keys].add(dv_part)
    dq.append(sum(dq_parts))
  dq = jnp.concatenate(dq, axis=2)
  return dq.astype(scaled_BNTH.dtype), dk.astype(k_BKSH.dtype), dv.astype(v_BKSH.dtype), None


_flash.defvjp(_flash_forward, _flash_backward)


def flash_attention(
  q_BTNH: jax.Array,
  k_BSKH: jax.Array,
  v_BSKH: jax.Array,
  segments_BT: jax.Array | None = None,
  segments_BS: jax.Array | None = None,
  *,
  causal: bool = True,
  offset: int = 0,
  interpret: bool | pltpu.InterpretParams = False,
) -> tuple[jax.Array, jax.Array]:
  """Equal to `flash_attention_ref`, on a TPU; never holds [T, S] scores.

  interpret: see `pallas_call`; runs the kernels on other platforms.

  Returns:
    (o_BTNH, lse_BTN f32), both differentiable in q, k and v.
  """
  T, S = q_BTNH.shape[1], k_BSKH.shape[1]
  if segments_BT is None:
    segments_BT, segments_BS = (jnp.ones(x.shape[:2], jnp.int32) for x in (q_BTNH, k_BSKH))
  q, k = block_mask.block_length(T), block_mask.block_length(S)
  # Different negative ids: padding sees nothing and is not seen.
  segments = _padded(segments_BT, q, 1, -1), _padded(segments_BS, k, 1, -2)
  q_BNTH = _padded(q_BTNH.swapaxes(1, 2), q, 2)
  k_BKSH, v_BKSH = (_padded(x.swapaxes(1, 2), k, 2) for x in (k_BSKH, v_BSKH))
  o_BNTH, lse_BNT = _flash(q_BNTH, k_BKSH, v_BKSH, segments, Settings(causal, offset, interpret))
  return o_BNTH[:, :, :T].swapaxes(1, 2), lse_BNT[:, :, :T].swapaxes(1, 2) / LOG2E
