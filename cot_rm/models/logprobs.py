"""Log-probabilities of a batch's tokens under a model: what every objective is made of.

B sequences, T tokens, Q prompts, G answers to each (B = Q * G), S prompt positions, R rows of
pictures, M visual tokens, D width.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from cot_rm.models import head, layers


def of(model, batch, *, masked=False):
  """f32[B, T]: log-probability of each token given what is before it.

  Where the batch has `prompts` a prompt and its pictures are computed once for all its answers.
  Else 0 at the first token, which nothing is before. masked: 0, too, where batch.mask is 0,
  without the work.
  """
  mask_BT = batch.mask if masked else None
  if batch.prompts is not None:
    return _after_prompts(model, batch, mask_BT)
  x_BTD, _ = _read(model, batch)
  if masked:
    mask_BT = mask_BT[:, 1:]
  with jax.named_scope("token_logps"):
    logps_BT = head.token_logps(x_BTD[:, :-1], model.head, batch.tokens[:, 1:], mask_BT)
  return jnp.pad(logps_BT, ((0, 0), (1, 0)))


def _after_prompts(model, batch, mask_BT):
  B = len(batch.tokens)
  x_QSD, prompt_kv = _read(model, batch.prompts)
  segments_QS = batch.prompts.segments
  x_Q1D = layers.at_end(x_QSD, segments_QS)[:, None]
  x_BTD, _ = model.extend(model.embed(batch.tokens), batch.positions, prompt_kv, segments_QS > 0)
  # The prompt's end foretells the first token of each of its answers.
  first_B1D = jnp.repeat(x_Q1D, B // len(x_QSD), axis=0)
  before_BTD = jnp.concatenate([first_B1D, x_BTD[:, :-1]], axis=1)
  with jax.named_scope("token_logps"):
    return head.token_logps(before_BTD, model.head, batch.tokens, mask_BT)


def _read(model, batch):
  """Hidden states of rows that hold all there is, and every layer's keys and values."""
  features_RMD = None if batch.pictures is None else model.features(batch.pictures)
  x_BTD = model.embed(batch.tokens, batch.visual, features_RMD)
  return model.prefill(x_BTD, batch.positions, batch.segments)


def make(graphdef):
  """`(params, batch) -> f32[B, T]`, compiled: of every token, in one pass; see train.make_logps."""
  return jax.jit(lambda params, batch: of(nnx.merge(graphdef, params), batch))
