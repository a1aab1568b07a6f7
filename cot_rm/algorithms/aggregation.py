"""Weights of tokens in a batch's mean (loss aggregation), and masked statistics.

B rows, T tokens, S segments of a row. A row may hold several answers: an answer is the tokens of
one segment that are in the mask.
"""

from typing import get_args

import jax
import jax.numpy as jnp

from cot_rm import registry
from cot_rm.algorithms import interface
from cot_rm.algorithms.interface import Aggregate, Array
from cot_rm.batch import Batch

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


def token_weights(batch: Batch, aggregate: Aggregate, max_tokens: int = 0) -> jax.Array:
  """f32[B, T]: weight of each token in the loss of the batch, sum(loss_BT * weights_BT).

  The weights of the whole batch are right for each part of it: losses and gradients of the parts
  add up to those of the batch.

  Args:
    batch: reads its mask and segments.
    aggregate: "sequence": mean over the tokens of each answer, then over answers (GRPO,
      R1-Reward). "token": mean over all tokens, so that a long answer weighs more (DAPO,
      arXiv:2503.14476). "constant": sum over the tokens of an answer divided by max_tokens, then
      mean over answers, which has no length bias (Dr.GRPO, arXiv:2503.20783). "sum": sum over the
      tokens of an answer, then mean over answers: the gradient of the answers' log-probabilities
      (REINFORCE and RLOO, arXiv:2402.14740).
    max_tokens: divisor of "constant".
  """
  mask_BT = jnp.asarray(batch.mask)
  counts_BS = _segment_sums(mask_BT, batch.segments)
  answers = jnp.maximum((counts_BS > 0).sum(), 1)
  if aggregate == "token":
    return mask_BT / jnp.maximum(mask_BT.sum(), 1)
  if aggregate == "sequence":
    return mask_BT / (answers * jnp.maximum(_per_token(counts_BS, batch), 1))
  if aggregate in ("constant", "sum"):
    return mask_BT / (answers * (max_tokens if aggregate == "constant" else 1))
  raise ValueError(f"aggregate is {aggregate!r}; {registry.hint(aggregate, AGGREGATES)}")


def check(settings: interface.Settings) -> None:
  """Raises ValueError where the aggregate "constant" has no max_tokens to divide by."""
  if settings.aggregate == "constant" and settings.max_tokens < 1:
    raise ValueError(
      f"{interface.field_name(settings, 'max_tokens')} is {settings.max_tokens}: aggregate "
      f"'constant' divides by it; set it to the number of tokens that an answer may have"
    )


def answer_mean(x_BT: Array, batch: Batch) -> jax.Array:
  """f32[B, T]: at every token, the mean of x over the tokens of its answer (in the mask)."""
  counts_BT = _per_token(_segment_sums(batch.mask, batch.segments), batch)
  sums_BT = _per_token(_segment_sums(x_BT * batch.mask, batch.segments), batch)
  return sums_BT / jnp.maximum(counts_BT, 1)


def masked_mean(x_BT: Array, mask_BT: Array) -> jax.Array:
  """Mean of x over the tokens in the mask; 0 if there are none."""
  return (x_BT * mask_BT).sum() / jnp.maximum(mask_BT.sum(), 1)


def masked_max(x_BT: Array, mask_BT: Array) -> jax.Array:
  """Maximum of x over the tokens in the mask; -inf if there are none."""
  return jnp.where(mask_BT > 0, x_BT, -jnp.inf).max()


def masked_quantiles(x_BT: Array, mask_BT: Array, levels: tuple[float, ...]) -> jax.Array:
  """Quantiles of x over the tokens in the mask, f32[len(levels)]; NaN if there are none."""
  return jnp.nanquantile(jnp.where(mask_BT > 0, x_BT, jnp.nan), jnp.array(levels))


def _segment_sums(x_BT: Array, segments_BT: Array) -> jax.Array:
  """f32[B, S]: sums of x by segment; S is T + 1, as ids run from 0 (padding) to at most T."""
  zeros_S = jnp.zeros(x_BT.shape[1] + 1, x_BT.dtype)
  return jax.vmap(lambda x_T, s_T: zeros_S.at[s_T].add(x_T))(x_BT, segments_BT)


def _per_token(x_BS: jax.Array, batch: Batch) -> jax.Array:
  """f32[B, T]: the value of its segment at every token."""
  return jnp.take_along_axis(x_BS, jnp.asarray(batch.segments), axis=1)
