"""Means over the tokens that count. B sequences, T tokens."""

import jax.numpy as jnp


def mean(x_BT, mask_BT):
  """Token mean: every kept token weighs the same."""
  return (x_BT * mask_BT).sum() / jnp.maximum(mask_BT.sum(), 1)


def sequence_mean(x_BT, mask_BT):
  """Mean within each row, then over the rows that have a token that counts."""
  kept_B = mask_BT.sum(-1)
  rows_B = (x_BT * mask_BT).sum(-1) / jnp.maximum(kept_B, 1)
  return rows_B.sum() / jnp.maximum((kept_B > 0).sum(), 1)
