"""From logits to a token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cot_rm.sampler import sampling

LOGITS_BV = jnp.log(jnp.array([[0.5, 0.25, 0.15, 0.1]]))
KEYS = jax.random.split(jax.random.key(0), 4000)


def frequencies(**how):
  tokens = sampling.pick(jnp.tile(LOGITS_BV, (len(KEYS), 1)), KEYS, sampling.Sampling(**how))
  return np.bincount(tokens, minlength=4) / len(KEYS)


def test_greedy_takes_the_likeliest():
  assert frequencies(temperature=0.0)[0] == 1


def test_temperature_one_samples_the_distribution():
  np.testing.assert_allclose(frequencies(temperature=1.0), [0.5, 0.25, 0.15, 0.1], atol=0.03)


def test_temperature_sharpens():
  squares = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
  np.testing.assert_allclose(frequencies(temperature=0.5), squares / squares.sum(), atol=0.03)


def test_top_k_keeps_k():
  np.testing.assert_allclose(frequencies(temperature=1.0, top_k=2), [2 / 3, 1 / 3, 0, 0], atol=0.03)


def test_top_p_keeps_the_smallest_set_that_reaches_p():
  np.testing.assert_allclose(
    frequencies(temperature=1.0, top_p=0.7), [2 / 3, 1 / 3, 0, 0], atol=0.03
  )
  assert frequencies(temperature=1.0, top_p=0.01)[0] == 1


@pytest.mark.parametrize("number", [0.0, 0.5, 1.0])
def test_a_token_without_probability_is_never_drawn(monkeypatch, number):
  monkeypatch.setattr(jax.random, "uniform", lambda key: jnp.float32(number))  # 1: if it rounds up
  logits_BV = jnp.array([[-jnp.inf, 0.0, -jnp.inf, 0.1, -jnp.inf]])
  assert sampling.pick(logits_BV, KEYS[:1], sampling.Sampling(1.0))[0] in (1, 3)


@pytest.mark.parametrize("V", [5, 64, 1000])
def test_a_draw_is_where_the_running_sum_of_probabilities_passes_the_number(V):
  rng = np.random.default_rng(V)
  logits_BV = rng.normal(size=(500, V)).astype(np.float32) * 3
  logits_BV[:, ::3] = -np.inf
  keys = KEYS[:500]
  sums_BV = np.cumsum(np.exp(logits_BV.astype(np.float64)), axis=-1)
  at_B = np.asarray(jax.vmap(jax.random.uniform)(keys)) * sums_BV[:, -1]
  tokens = sampling.pick(jnp.asarray(logits_BV), keys, sampling.Sampling(1.0))
  low_B, high_B = (sums_BV - np.exp(logits_BV))[range(500), tokens], sums_BV[range(500), tokens]
  off = 1e-5 * sums_BV[:, -1]  # float32
  assert (low_B - off <= at_B).all() and (at_B <= high_B + off).all()
  assert np.isfinite(logits_BV[range(500), tokens]).all()


def test_a_row_is_drawn_with_its_own_key():
  both = sampling.pick(jnp.tile(LOGITS_BV, (2, 1)), KEYS[:2], sampling.Sampling(1.0))
  alone = sampling.pick(LOGITS_BV, KEYS[1:2], sampling.Sampling(1.0))
  assert both[1] == alone[0]


@pytest.mark.parametrize(
  "wrong",
  [dict(temperature=-1), dict(top_p=0), dict(top_p=1.5), dict(top_k=-1), dict(max_tokens=0)],
)
def test_what_is_out_of_range_is_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    sampling.Sampling(**wrong)
