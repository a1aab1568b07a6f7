"""Qwen2.5-VL: a vision tower and a decoder with grouped-query attention and M-RoPE.

B sequences, T positions, R rows of pictures, M visual tokens of a row, D width, N heads, K kv
heads, H head size, V vocabulary, L layers, Q prompts, S cached positions. Source: arXiv:2502.13923.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm.models import attention, layers
from cot_rm.models.qwen2_5_vl import vision
from cot_rm.sharding import constrain


class Attention(nnx.Module):
  def __init__(self, c, *, rngs):
    self.num_heads, self.num_kv_heads = c.num_heads, c.num_kv_heads
    q_out, kv_out = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    stacked = dict(rngs=rngs, layers=c.num_layers)
    self.q_proj = layers.Linear(("heads", "embed"), q_out, c.hidden_size, bias=True, **stacked)
    self.k_proj = layers.Linear(("kv_heads", "embed"), kv_out, c.hidden_size, bias=True, **stacked)
    self.v_proj = layers.Linear(("kv_heads", "embed"), kv_out, c.hidden_size, bias=True, **stacked)
    self.o_proj = layers.Linear(
      ("embed", "heads"), c.hidden_size, q_out, scale=(2 * c.num_layers) ** -0.5, **stacked
    )

  def qkv(self, x_BTD, rope):
    heads = lambda y, n: y.reshape(*x_BTD.shape[:2], n, -1)
    q_BTNH = layers.rotate(heads(self.q_proj(x_BTD), self.num_heads), *rope)
    k_BTKH = layers.rotate(heads(self.k_proj(x_BTD), self.num_kv_heads), *rope)
    return q_BTNH, k_BTKH, heads(self.v_proj(x_BTD), self.num_kv_heads)


class Layer(nnx.Module):
  """All layers of the decoder, stacked."""

  def __init__(self, c, *, rngs):
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

  def __call__(self, x_BTD, rope, attend):
    """`attend(q, k, v) -> ([B, T, N * H], what the scan keeps)` decides what is looked at."""
    with jax.named_scope("attention"):
      o_BTD, kept = attend(*self.self_attn.qkv(self.input_layernorm(x_BTD), rope))
      x_BTD = x_BTD + self.self_attn.o_proj(o_BTD)
    with jax.named_scope("mlp"):
      x_BTD = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
    return constrain(x_BTD, "batch", "length", None), kept


class Embed(nnx.Module):
  def __init__(self, c, *, rngs):
    self.weight = layers.param(
      rngs, (c.vocab_size, c.hidden_size), ("vocab", "embed"), None, c.hidden_size**-0.5
    )


class Model(nnx.Module):
  """The policy. `dtype` is what matrix products run in; parameters keep their own."""

  def __init__(self, c, *, rngs, dtype=jnp.float32, remat=False):
    self.config, self.dtype, self.remat = c, jnp.dtype(dtype), remat
    self.visual = vision.Vision(c.vision, rngs=rngs)
    self.embed_tokens = Embed(c, rngs=rngs)
    self.layers = Layer(c, rngs=rngs)
    self.norm = layers.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
    if not c.tie_word_embeddings:
      self.lm_head = layers.Linear(("vocab", "embed"), c.vocab_size, c.hidden_size, rngs=rngs)

  @property
  def head(self):
    """[V, D]: the matrix that turns hidden states into logits."""
    table = self.embed_tokens if self.config.tie_word_embeddings else self.lm_head
    return table.weight[...].astype(self.dtype)

  def features(self, pictures):
    """batch.Pictures to visual tokens [R, M, D]."""
    return self.visual(pictures, dtype=self.dtype, remat=self.remat)

  def embed(self, tokens_BT, visual_BT=None, features_RMD=None):
    """Token embeddings, with visual tokens where visual_BT >= 0.

    Row b takes its visual tokens from picture row b // (B // R).
    """
    x_BTD = self.embed_tokens.weight[...].astype(self.dtype)[tokens_BT]
    if features_RMD is None:
      return x_BTD
    R = features_RMD.shape[0]
    index = jnp.maximum(visual_BT, 0).reshape(R, -1, 1)
    seen = jnp.take_along_axis(features_RMD, index, axis=1).reshape(x_BTD.shape)
    return jnp.where(visual_BT[..., None] >= 0, seen, x_BTD)

  def rope(self, positions_BT3):
    """(cos, sin) f32[B, T, H] of M-RoPE: sections of the pairs turn by time, height and width."""
    c = self.config
    inverse = c.rope_theta ** -(np.arange(0, c.head_dim, 2, dtype=np.float32) / c.head_dim)
    axis = np.repeat(np.arange(3), c.mrope_section)
    angles = positions_BT3.astype(jnp.float32)[..., axis] * inverse[None, None]
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles), jnp.sin(angles)

  def prefill(self, x_BTD, positions_BT3, segments_BT):
    """Hidden states [B, T, D], and every layer's keys [L, B, K, H, T] and values [L, B, K, T, H].

    A position sees what is before it in its own segment; segment 0 is padding.
    """
    rope = self.rope(positions_BT3)

    def attend(*qkv):
      return attention.segment_attention(*qkv, segments_BT, causal=True), attention.kept(*qkv[1:])

    def body(layer, x_BTD, _):
      return layer(x_BTD, rope, attend)

    with jax.named_scope("decoder"):
      x_BTD, kv = layers.scan(self.layers, x_BTD, body, remat=self.remat)
      return self.norm(x_BTD), kv

  def extend(self, x_BTD, positions_BT3, prompt, mask_QS):
    """Goes on from prompts that groups of rows share.

    Args:
      x_BTD: embeddings of T new tokens; B = Q * G, rows of a group are neighbours.
      positions_BT3: their M-RoPE positions.
      prompt: keys and values of `prefill`.
      mask_QS: which prompt positions count.

    Returns:
      hidden states [B, T, D], and the keys and values of the new tokens, as those of `prefill`.
    """
    rope = self.rope(positions_BT3)

    def body(layer, x_BTD, prompt_kv):
      def attend(*qkv):
        return attention.extended_attention(*qkv, prompt_kv, mask_QS), attention.kept(*qkv[1:])

      return layer(x_BTD, rope, attend)

    with jax.named_scope("decoder"):
      x_BTD, kv = layers.scan(self.layers, x_BTD, body, prompt, remat=self.remat)
      return self.norm(x_BTD), kv

  def decode(
    self, blocks, x_BD, position_B, prompts, mask_QS, answers, age_B, chunk, at, assignment
  ):
    """One token more of each of B samples of Q prompts.

    Keys and values are as attention.kept keeps them; see layers.each for how those of layers lie.

    Args:
      blocks: self.layers, or layers.unstacked of it.
      x_BD: embeddings of the tokens.
      position_B: their M-RoPE position, one number for all three axes.
      prompts: of Q prompts.
      mask_QS: which positions of the prompts count.
      answers: of what came before the chunk, a list of parts of one size; of row b the first
        age_B[b] positions count.
      chunk: of the chunk that is being made, in which this is token number `at`.
      assignment: attention.Assignment of samples to prompts, or None.

    Returns:
      hidden states [B, D] and the chunk with the token in it.
    """
    rope = self.rope(jnp.broadcast_to(position_B[:, None, None], (len(x_BD), 1, 3)))

    def body(block, x_B1D, room, held, layer):
      def attend(q_B1NH, *new):
        filled = attention.put_kept(room, at, attention.kept(*new), layer)
        prompt, answer = held
        parts = prompt, mask_QS, answer, age_B, filled
        return attention.decode_attention(q_B1NH, layer, *parts, at, assignment), filled

      return block(x_B1D, rope, attend)

    held = prompts, answers
    if isinstance(blocks, list):
      held = list(zip(*held, strict=True))
    with jax.named_scope("decoder"):
      x_B1D, chunk = layers.each(blocks, x_BD[:, None], chunk, held, body)
      return self.norm(x_B1D)[:, 0], chunk
