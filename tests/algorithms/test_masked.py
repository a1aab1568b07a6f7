"""Means over the tokens that count."""

import jax.numpy as jnp

from cot_rm.algorithms import masked

X_BT = jnp.array([[1.0, 2.0, 3.0, 100.0], [5.0, 100.0, 100.0, 100.0], [9.0, 9.0, 9.0, 9.0]])
MASK_BT = jnp.array([[1.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


def test_a_token_mean_weighs_every_kept_token_alike():
  assert float(masked.mean(X_BT, MASK_BT)) == (1 + 2 + 3 + 5) / 4


def test_a_sequence_mean_weighs_every_answer_alike_and_skips_empty_rows():
  assert float(masked.sequence_mean(X_BT, MASK_BT)) == (2 + 5) / 2


def test_nothing_kept_is_zero_and_not_nan():
  assert float(masked.mean(X_BT, 0 * MASK_BT)) == 0
  assert float(masked.sequence_mean(X_BT, 0 * MASK_BT)) == 0
