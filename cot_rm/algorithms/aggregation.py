"""Weights of tokens in a whole batch's mean, and figures over the tokens that count.

B rows, T tokens, S segments of a row. An answer is what counts of one segment: a row may hold more.
"""

import jax
import jax.numpy as jnp

from cot_rm.algorithms import choices

AGGREGATES = ("sequence", "token", "constant")


def weights(batch, how, length=0):
  """f32[B, T]: what each token weighs in the batch's loss, sum(loss_BT * weights_BT).

  Computed of the whole batch, they are right for any part of it: the losses and the gradients of
  the parts add up to those of the whole.

  Args:
    batch: a batch.Batch.
    how: "sequence": the mean within each answer, then over answers (GRPO's, and R1-Reward's).
      "token": every token that counts weighs the same, so that a long answer weighs more (DAPO,
      arXiv:2503.14476). "constant": the sum over an answer's tokens divided by `length`, then the
      mean over answers (Dr.GRPO, arXiv:2503.20783): length biases nothing.
    length: the divisor of "constant", the most tokens that an answer may have.
  """
  counts_BS = _sums(batch.mask, batch.segments)
  answers = jnp.maximum((counts_BS > 0).sum(), 1)
  if how == "token":
    return batch.mask / jnp.maximum(batch.mask.sum(), 1)
  if how == "sequence":
    return batch.mask / (answers * jnp.maximum(_spread(counts_BS, batch), 1))
  if how == "constant":
    return batch.mask / (answers * length)
  raise ValueError(f"no aggregate {how!r}. Known: {', '.join(AGGREGATES)}")


def check(settings):
  """Raises ValueError where an algorithm's `aggregate` and `max_tokens` do not fit `weights`."""
  choices.check(settings, "aggregate", AGGREGATES)
  if settings.aggregate == "constant" and settings.max_tokens < 1:
    raise ValueError(
      f"{choices.knob(settings, 'max_tokens')} is {settings.max_tokens}: aggregate 'constant' "
      f"divides by it; set it to the most tokens that an answer may have"
    )


def answer_mean(x_BT, batch):
  """f32[B, T]: at every token, the mean of x over the tokens that count of its answer."""
  counts_BT = _spread(_sums(batch.mask, batch.segments), batch)
  return _spread(_sums(x_BT * batch.mask, batch.segments), batch) / jnp.maximum(counts_BT, 1)


def mean(x_BT, mask_BT):
  """Token mean: every kept token weighs the same."""
  return (x_BT * mask_BT).sum() / jnp.maximum(mask_BT.sum(), 1)


def maximum(x_BT, mask_BT):
  """The largest x of the kept tokens; -inf where none is kept."""
  return jnp.where(mask_BT > 0, x_BT, -jnp.inf).max()


def quantiles(x_BT, mask_BT, shares):
  """The quantiles of x over the kept tokens, one for each of `shares`; NaN where none is kept."""
  return jnp.nanquantile(jnp.where(mask_BT > 0, x_BT, jnp.nan), jnp.array(shares))


def _sums(x_BT, segments_BT):
  """f32[B, S]: x added up by segment; a row of T tokens has at most T of them, and padding's 0."""
  zeros_S = jnp.zeros(x_BT.shape[1] + 1, x_BT.dtype)
  return jax.vmap(lambda x_T, s_T: zeros_S.at[s_T].add(x_T))(x_BT, segments_BT)


def _spread(x_BS, batch):
  return jnp.take_along_axis(x_BS, batch.segments, axis=1)
