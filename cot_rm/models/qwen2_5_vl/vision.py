"""The vision tower: patches to visual tokens, with attention within windows and within frames.

R rows of pictures, P patches, C values per patch, D width, N heads, H head size, M merged tokens.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm.batch import Pictures
from cot_rm.models import attention, layers
from cot_rm.models.qwen2_5_vl.config import VisionConfig
from cot_rm.sharding import constrain

Rope = tuple[jax.Array, jax.Array]  # cosines and sines, f32[R, P, H]


class Attention(nnx.Module):
  """Attention within segments, stacked over blocks."""

  def __init__(self, c: VisionConfig, *, rngs: nnx.Rngs):
    stacked = dict(rngs=rngs, layers=c.depth, bias=True)
    self.qkv = layers.Linear(("heads", "embed"), 3 * c.hidden_size, c.hidden_size, **stacked)
    self.proj = layers.Linear(
      ("embed", "heads"), c.hidden_size, c.hidden_size, scale=(2 * c.depth) ** -0.5, **stacked
    )
    self.num_heads = c.num_heads

  def __call__(self, x_RPD: jax.Array, rope: Rope, segments_RP: jax.Array) -> jax.Array:
    """[R, P, D] to [R, P, D]."""
    R, P, D = x_RPD.shape
    qkv = self.qkv.in_parts(x_RPD, 3, ("heads", "embed")).reshape(R, P, 3, self.num_heads, -1)
    q_RPNH, k_RPNH, v_RPNH = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    q_RPNH, k_RPNH = layers.rotate(q_RPNH, *rope), layers.rotate(k_RPNH, *rope)
    o_RPD = attention.segment_attention(q_RPNH, k_RPNH, v_RPNH, segments_RP, causal=False)
    return self.proj(o_RPD)


class Block(nnx.Module):
  """All blocks of the tower, stacked."""

  def __init__(self, c: VisionConfig, *, rngs: nnx.Rngs):
    self.norm1 = layers.RMSNorm(c.hidden_size, eps=c.rms_norm_eps, layers=c.depth)
    self.norm2 = layers.RMSNorm(c.hidden_size, eps=c.rms_norm_eps, layers=c.depth)
    self.attn = Attention(c, rngs=rngs)
    self.mlp = layers.SwiGlu(
      c.hidden_size,
      c.intermediate_size,
      rngs=rngs,
      layers=c.depth,
      bias=True,
      out_scale=(2 * c.depth) ** -0.5,
    )

  def __call__(self, x_RPD: jax.Array, rope: Rope, segments_RP: jax.Array) -> jax.Array:
    """[R, P, D] to [R, P, D]; a patch attends to patches of its own segment."""
    x_RPD = x_RPD + self.attn(self.norm1(x_RPD), rope, segments_RP)
    return x_RPD + self.mlp(self.norm2(x_RPD))


class PatchEmbed(nnx.Module):
  """Patch embedding: a convolution with stride equal to its kernel is one matrix product."""

  def __init__(self, c: VisionConfig, *, rngs: nnx.Rngs):
    self.proj = layers.Linear(("embed", "patch"), c.hidden_size, c.patch_dim, rngs=rngs)

  def __call__(self, patches_RPC: jax.Array) -> jax.Array:
    """[R, P, C] to [R, P, D]."""
    return self.proj(patches_RPC)


class Merger(nnx.Module):
  """Merges merge_size ** 2 neighbouring patches into one visual token of the decoder's width."""

  def __init__(self, c: VisionConfig, *, rngs: nnx.Rngs):
    width = c.hidden_size * c.merge_size**2
    self.ln_q = layers.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
    self.fc1 = layers.Linear(("mlp", "embed"), width, width, rngs=rngs, bias=True)
    self.fc2 = layers.Linear(("embed", "mlp"), c.out_hidden_size, width, rngs=rngs, bias=True)
    self.width = width

  def __call__(self, x_RPD: jax.Array) -> jax.Array:
    """[R, P, D] to [R, M, out_hidden_size]."""
    x_RMF = self.ln_q(x_RPD).reshape(x_RPD.shape[0], -1, self.width)
    return self.fc2(jax.nn.gelu(self.fc1(x_RMF), approximate=False))


def rope(hw_RP2: jax.Array, head_dim: int) -> Rope:
  """(cos, sin) of 2-D rotary positions, f32[R, P, H]: half of H rotates by row, half by column."""
  inverse = layers.rotary_frequencies(1e4, head_dim // 2)
  angles = hw_RP2[..., None].astype(jnp.float32) * inverse.reshape(1, 1, 1, -1)
  angles = angles.reshape(*hw_RP2.shape[:2], -1)
  angles = jnp.concatenate([angles, angles], axis=-1)
  return jnp.cos(angles), jnp.sin(angles)


class Vision(nnx.Module):
  """The tower. Patches and tokens keep the processor's order, see windows.py."""

  def __init__(self, c: VisionConfig, *, rngs: nnx.Rngs):
    self.config = c
    self.patch_embed = PatchEmbed(c, rngs=rngs)
    self.blocks = Block(c, rngs=rngs)
    self.merger = Merger(c, rngs=rngs)

  def __call__(self, pictures: Pictures, *, dtype: jnp.dtype, remat: bool = False) -> jax.Array:
    """Visual tokens of padded pictures, [R, M, out_hidden_size] with M = P / merge_size ** 2.

    Args:
      pictures: padded pictures.
      dtype: of activations and matrix products.
      remat: a block's activations are recomputed in the backward pass instead of stored.
    """
    c = self.config
    turn = rope(pictures.hw, c.head_dim)
    full_L = np.isin(np.arange(c.depth), c.full_attention_blocks)

    def body(block, x_RPD, full):
      segments_RP = jnp.where(full, pictures.frames, pictures.windows)
      return block(x_RPD, turn, segments_RP), None

    with jax.named_scope("vision"):
      x_RPD = self.patch_embed(pictures.patches.astype(dtype))
      x_RPD = constrain(x_RPD, "batch", "length", None)
      x_RPD, _ = layers.scan(self.blocks, x_RPD, body, full_L, remat=remat)
      return self.merger(x_RPD)
