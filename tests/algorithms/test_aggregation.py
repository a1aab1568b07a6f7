"""Token weights, of a batch and of its parts; masked statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.algorithms import aggregation, grpo
from tests import defaults
from tests.algorithms import batches

X_BT = jnp.array([[1.0, 2.0, 3.0, 100.0], [5.0, 100.0, 100.0, 100.0], [9.0, 9.0, 9.0, 9.0]])
MASK_BT = jnp.array([[1.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
# Row 0: a prompt token and an answer of 1, another and an answer of 2; row 1: an answer of 3.
PACKED = batches.batch(
  np.zeros((3, 6)),
  np.zeros((3, 6)),
  mask=[[0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0], [0] * 6],
  segments=[[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 0, 0], [0] * 6],
)


def test_by_sequence_every_answer_weighs_the_same_where_rows_hold_several():
  third, sixth, ninth = 1 / 3, 1 / 6, 1 / 9
  np.testing.assert_allclose(
    aggregation.token_weights(PACKED, "sequence"),
    [[0, third, 0, sixth, sixth, 0], [0, ninth, ninth, ninth, 0, 0], [0] * 6],
    rtol=1e-6,
  )


def test_by_token_every_token_weighs_the_same():
  np.testing.assert_allclose(aggregation.token_weights(PACKED, "token"), PACKED.mask / 6, rtol=1e-6)


def test_by_a_constant_the_sum_over_an_answer_is_divided_by_it():
  np.testing.assert_allclose(
    aggregation.token_weights(PACKED, "constant", 10), PACKED.mask / (3 * 10), rtol=1e-6
  )


def test_by_sum_every_token_weighs_what_its_answer_does():
  np.testing.assert_allclose(aggregation.token_weights(PACKED, "sum", 10), PACKED.mask / 3)


def test_padded_answers_weigh_what_packed_ones_do():
  padded = batches.batch(np.zeros((3, 3)), np.zeros((3, 3)), mask=[[1, 0, 0], [1, 1, 0], [1, 1, 1]])
  for how in aggregation.AGGREGATES:
    packed = np.asarray(aggregation.token_weights(PACKED, how, 7))[np.asarray(PACKED.mask) > 0]
    alone = np.asarray(aggregation.token_weights(padded, how, 7))[np.asarray(padded.mask) > 0]
    np.testing.assert_array_equal(packed, alone)


def test_without_counted_tokens_weights_are_zero_and_not_nan():
  empty = dataclasses.replace(PACKED, mask=0 * PACKED.mask)
  for how in aggregation.AGGREGATES:
    np.testing.assert_array_equal(aggregation.token_weights(empty, how, 7), 0)
  assert float(aggregation.masked_mean(X_BT, 0 * MASK_BT)) == 0


def test_an_unknown_aggregate_is_refused():
  with pytest.raises(ValueError, match="aggregate is 'tokens'.*sequence, token, constant, sum"):
    aggregation.token_weights(PACKED, "tokens")


def test_a_constant_that_is_not_set_names_the_field():
  with pytest.raises(ValueError, match="grpo.Config.max_tokens is 0.*'constant'"):
    defaults.settings(grpo, aggregate="constant", max_tokens=0)


def test_the_mean_of_an_answer_stands_at_each_of_its_tokens():
  x_BT = jnp.array([[50.0, 1, 50, 2, 4, 50], [50, 3, 4, 8, 50, 50], [50] * 6])
  found = aggregation.answer_mean(x_BT, PACKED)
  np.testing.assert_allclose(found[0, :5], [1, 1, 3, 3, 3], rtol=1e-6)
  np.testing.assert_allclose(found[1, :4], [5] * 4, rtol=1e-6)


def test_a_masked_mean_weighs_every_counted_token_alike():
  assert float(aggregation.masked_mean(X_BT, MASK_BT)) == (1 + 2 + 3 + 5) / 4


def test_quantiles_and_maxima_are_of_the_counted_tokens():
  np.testing.assert_allclose(aggregation.masked_quantiles(X_BT, MASK_BT, (0.5, 1.0)), [2.5, 5])
  assert float(aggregation.masked_max(X_BT, MASK_BT)) == 5
  assert float(jax.jit(aggregation.masked_max)(-X_BT, MASK_BT)) == -1
