"""Qwen2.5-VL: a vision tower and a decoder with grouped-query attention and M-RoPE.

B sequences, T positions, R rows of pictures, M visual tokens of a row, D width, N heads, K kv
heads, H head size, V vocabulary, L layers, Q prompts, S cached positions. Source: arXiv:2502.13923.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm.batch import Pictures
from cot_rm.models import attention, kv_cache, layers
from cot_rm.models.kv_cache import KeysValues
from cot_rm.models.qwen2_5_vl import vision
from cot_rm.models.qwen2_5_vl.config import Config
from cot_rm.sharding import constrain

Rope = tuple[jax.Array, jax.Array]  # cosines and sines, f32[B, T, H]
Second = TypeVar("Second")


class Attention(nnx.Module):
  """Projections of the decoder's attention, stacked over layers."""

  def __init__(self, c: Config, *, rngs: nnx.Rngs):
    self.num_heads, self.num_kv_heads = c.num_heads, c.num_kv_heads
    q_out, kv_out = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    stacked = dict(rngs=rngs, layers=c.num_layers)
    self.q_proj = layers.Linear(("heads", "embed"), q_out, c.hidden_size, bias=True, **stacked)
    self.k_proj = layers.Linear(("kv_heads", "embed"), kv_out, c.hidden_size, bias=True, **stacked)
    self.v_proj = layers.Linear(("kv_heads", "embed"), kv_out, c.hidden_size, bias=True, **stacked)
    self.o_proj = layers.Linear(
      ("embed", "heads"), c.hidden_size, q_out, scale=(2 * c.num_layers) ** -0.5, **stacked
    )

  def qkv(self, x_BTD: jax.Array, rope: Rope) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(q_BTNH, k_BTKH, v_BTKH), queries and keys rotated."""

    def heads(y: jax.Array, n: int) -> jax.Array:
      return y.reshape(*x_BTD.shape[:2], n, -1)

    q_BTNH = layers.rotate(heads(self.q_proj(x_BTD), self.num_heads), *rope)
    k_BTKH = layers.rotate(heads(self.k_proj(x_BTD), self.num_kv_heads), *rope)
    return q_BTNH, k_BTKH, heads(self.v_proj(x_BTD), self.num_kv_heads)


class Layer(nnx.Module):
  """All layers of the decoder, stacked."""

  def __init__(self, c: Config, *, rngs: nnx.Rngs):
    norm = dict(eps=c.rms_norm_eps, layers=c.num_layers)
    self.input_layernorm = layers.RMSNorm(c.hidden_size, **norm)
    self.self_attn = Attention(c, rngs=rngs)
    self.post_attention_layernorm = layers.RMSNorm(c.hidden_size, **norm)
    self.mlp = layers.SwiGlu(
      c.hidden_size,
      c.intermediate_size,
      rngs=rngs,
      layers=c.num_layers,
      bias=False,
      out_scale=(2 * c.num_layers) ** -0.5,
    )

  def __call__(
    self,
    x_BTD: jax.Array,
    rope: Rope,
    attend: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Second]],
  ) -> tuple[jax.Array, Second]:
    """(output [B, T, D], second result of `attend`).

    attend: (q_BTNH, k_BTKH, v_BTKH) -> (attention output [B, T, N * H], keys and values to keep).
    """
    with jax.named_scope("attention"):
      o_BTD, keys_values = attend(*self.self_attn.qkv(self.input_layernorm(x_BTD), rope))
      x_BTD = x_BTD + self.self_attn.o_proj(o_BTD)
    with jax.named_scope("mlp"):
      x_BTD = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
    return constrain(x_BTD, "batch", "length", None), keys_values


class Embed(nnx.Module):
  """The table of token embeddings [V, D]."""

  def __init__(self, c: Config, *, rngs: nnx.Rngs):
    self.weight = layers.param(
      rngs, (c.vocab_size, c.hidden_size), ("vocab", "embed"), None, c.hidden_size**-0.5
    )


class Model(nnx.Module):
  """The policy: embeddings, vision tower, decoder and head."""

  def __init__(
    self, c: Config, *, rngs: nnx.Rngs, dtype: jnp.dtype = jnp.float32, remat: bool = False
  ):
    """Initializes random parameters in float32.

    Args:
      c: sizes.
      rngs: random keys.
      dtype: of activations and matrix products; parameters keep their own.
      remat: a layer's activations are recomputed in the backward pass instead of stored.
    """
    self.config, self.dtype, self.remat = c, jnp.dtype(dtype), remat
    self.visual = vision.Vision(c.vision, rngs=rngs)
    self.embed_tokens = Embed(c, rngs=rngs)
    self.layers = Layer(c, rngs=rngs)
    self.norm = layers.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
    if not c.tie_word_embeddings:
      self.lm_head = layers.Linear(("vocab", "embed"), c.vocab_size, c.hidden_size, rngs=rngs)

  @property
  def head(self) -> jax.Array:
    """Matrix from hidden states to logits, [V, D] in `dtype`."""
    table = self.embed_tokens if self.config.tie_word_embeddings else self.lm_head
    return table.weight[...].astype(self.dtype)

  def features(self, pictures: Pictures) -> jax.Array:
    """Visual tokens of padded pictures, [R, M, D]."""
    return self.visual(pictures, dtype=self.dtype, remat=self.remat)

  def embed(
    self,
    tokens_BT: jax.Array,
    visual_BT: jax.Array | None = None,
    features_RMD: jax.Array | None = None,
  ) -> jax.Array:
    """Token embeddings [B, T, D], with visual tokens where visual_BT >= 0.

    Args:
      tokens_BT: i32.
      visual_BT: i32, index of the token's visual token in its row of pictures; -1 for text.
      features_RMD: visual tokens; row b reads row b // (B // R). None: there are none.
    """
    x_BTD = self.embed_tokens.weight[...].astype(self.dtype)[tokens_BT]
    if features_RMD is None:
      return x_BTD
    R = features_RMD.shape[0]
    index = jnp.maximum(visual_BT, 0).reshape(R, -1, 1)
    seen = jnp.take_along_axis(features_RMD, index, axis=1).reshape(x_BTD.shape)
    return jnp.where(visual_BT[..., None] >= 0, seen, x_BTD)

  def rope(self, positions_BT3: jax.Array) -> Rope:
    """(cos, sin) of M-RoPE, f32[B, T, H]: sections of H rotate by time, by height and by width."""
    c = self.config
    inverse = layers.rotary_frequencies(c.rope_theta, c.head_dim)
    axis = np.repeat(np.arange(3), c.mrope_section)
    angles = positions_BT3.astype(jnp.float32)[..., axis] * inverse[None, None]
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles), jnp.sin(angles)

  def prefill(
    self, x_BTD: jax.Array, positions_BT3: jax.Array, segments_BT: jax.Array
  ) -> tuple[jax.Array, KeysValues]:
    """Hidden states [B, T, D], and every layer's keys [L, B, K, H, T] and values [L, B, K, T, H].

    Args:
      x_BTD: embeddings.
      positions_BT3: i32, M-RoPE positions.
      segments_BT: i32; a token attends to earlier tokens of its own segment. 0 is padding.
    """
    rope = self.rope(positions_BT3)

    def attend(*qkv):
      o_BTD = attention.segment_attention(*qkv, segments_BT, causal=True)
      return o_BTD, kv_cache.to_cache_layout(*qkv[1:])

    def body(layer, x_BTD, _):
      return layer(x_BTD, rope, attend)

    with jax.named_scope("decoder"):
      x_BTD, keys_values = layers.scan(self.layers, x_BTD, body, remat=self.remat)
      return self.norm(x_BTD), keys_values

  def extend(
    self, x_BTD: jax.Array, positions_BT3: jax.Array, prompts: KeysValues, mask_QS: jax.Array
  ) -> tuple[jax.Array, KeysValues]:
    """Hidden states [B, T, D] of tokens that continue prompts, and their keys and values.

    Args:
      x_BTD: embeddings of T new tokens; B = Q * G, rows of a group are neighbours.
      positions_BT3: i32, their M-RoPE positions.
      prompts: keys and values that `prefill` returned for Q prompts of S positions.
      mask_QS: bool, the prompt positions that are not padding.
    """
    rope = self.rope(positions_BT3)

    def body(layer, x_BTD, prompts_of_layer):
      def attend(*qkv):
        o_BTD = attention.extended_attention(*qkv, prompts_of_layer, mask_QS)
        return o_BTD, kv_cache.to_cache_layout(*qkv[1:])

      return layer(x_BTD, rope, attend)

    with jax.named_scope("decoder"):
      x_BTD, keys_values = layers.scan(self.layers, x_BTD, body, prompts, remat=self.remat)
      return self.norm(x_BTD), keys_values

  def decode(
    self,
    blocks: nnx.Module | list[nnx.Module],
    x_BD: jax.Array,
    position_B: jax.Array,
    context: attention.DecodeContext,
    chunk: KeysValues | list[KeysValues],
    chunk_position: jax.Array,
  ) -> tuple[jax.Array, KeysValues | list[KeysValues]]:
    """Decodes one token of each of B samples.

    Args:
      blocks: self.layers, or layers.unstacked of it; see layers.scan_in_place for the layout of the
        caches of layers.
      x_BD: embeddings of the tokens.
      position_B: i32, their M-RoPE position, the same on all three axes.
      context: the KV cache before the chunk.
      chunk: keys and values of the chunk that is being decoded.
      chunk_position: i32[], position of the token in the chunk.

    Returns:
      (hidden states [B, D], the chunk with the token's keys and values).
    """
    rope = self.rope(jnp.broadcast_to(position_B[:, None, None], (len(x_BD), 1, 3)))

    def body(block, x_B1D, chunk, prompts_and_answers, layer):
      def attend(q_B1NH, *new):
        new = kv_cache.to_cache_layout(*new)
        filled = kv_cache.write_tokens(chunk, chunk_position, new, layer)
        prompts, answers = prompts_and_answers
        of_layer = context._replace(prompts=prompts, answers=answers)
        return attention.decode_attention(q_B1NH, layer, of_layer, filled, chunk_position), filled

      return block(x_B1D, rope, attend)

    prompts_and_answers = context.prompts, context.answers
    if isinstance(blocks, list):
      prompts_and_answers = list(zip(*prompts_and_answers, strict=True))
    with jax.named_scope("decoder"):
      x_B1D, chunk = layers.scan_in_place(blocks, x_BD[:, None], chunk, prompts_and_answers, body)
      return self.norm(x_B1D)[:, 0], chunk
