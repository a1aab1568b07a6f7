"""Sampling of tokens from logits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import transformers

from cot_rm.sampler import sampling

LOGITS_BV = jnp.log(jnp.array([[0.5, 0.25, 0.15, 0.1]]))
DEFAULTS = {"temperature": 0.0, "max_tokens": 64}
KEYS = jax.random.split(jax.random.key(0), 4000)


def draw(logits_BV, keys, **how):
  sampled = sampling.sample_tokens(
    jnp.asarray(logits_BV).T, keys, sampling.Sampling(**(DEFAULTS | how))
  )
  return sampled.token_B, sampled.sampling_logp_B


def frequencies(**how):
  tokens, _ = draw(jnp.tile(LOGITS_BV, (len(KEYS), 1)), KEYS, **how)
  return np.bincount(tokens, minlength=4) / len(KEYS)


def test_greedy_takes_the_likeliest():
  assert frequencies(temperature=0.0)[0] == 1


def wanted(probs, temperature=1.0, top_k=0, top_p=1.0):
  """The distribution by its definition, one token after the other."""
  probs = probs ** (1 / temperature) / (probs ** (1 / temperature)).sum()
  order, kept, reached = np.argsort(-probs), [], 0.0
  for token in order[: top_k or None]:
    kept.append(token)
    reached += probs[token] / (probs[order[:top_k]].sum() if top_k else 1)
    if reached >= top_p:
      break
  out = np.zeros_like(probs)
  out[kept] = probs[kept]
  return out / out.sum()


@pytest.mark.parametrize(
  "how",
  [
    dict(temperature=1.0),
    dict(temperature=0.5),
    dict(temperature=1.7),
    dict(temperature=1.0, top_k=2),
    dict(temperature=1.0, top_k=9),
    dict(temperature=1.0, top_p=0.7),
    dict(temperature=1.0, top_p=0.05),
    dict(temperature=0.8, top_k=12, top_p=0.9),
  ],
  ids=str,
)
def test_samples_have_the_wanted_distribution_by_chi_square(how):
  probs = np.random.default_rng(0).dirichlet(np.ones(16))
  logits_BV = jnp.tile(jnp.log(jnp.asarray(probs))[None], (20_000, 1))
  tokens, logps = draw(logits_BV, jax.random.split(jax.random.key(1), 20_000), **how)
  expected = wanted(probs, **how)
  seen = np.bincount(tokens, minlength=16)
  assert not seen[expected == 0].any()
  seen, some = seen[expected > 0], expected[expected > 0]
  if len(some) > 1:
    assert scipy.stats.chisquare(seen, some * len(tokens)).pvalue > 1e-3
  np.testing.assert_allclose(logps, np.log(expected[tokens]), atol=1e-5)


@pytest.mark.parametrize("number", [0.0, 0.5, 1.0])
def test_a_token_without_probability_is_never_sampled(monkeypatch, number):
  monkeypatch.setattr(jax.random, "uniform", lambda key: jnp.float32(number))  # 1: if it rounds up
  logits_BV = jnp.array([[-jnp.inf, 0.0, -jnp.inf, 0.1, -jnp.inf]])
  assert draw(logits_BV, KEYS[:1], temperature=1.0)[0][0] in (1, 3)


@pytest.mark.parametrize("V", [5, 64, 1000])
def test_a_sample_is_where_the_cumulative_probability_exceeds_the_uniform_number(V):
  rng = np.random.default_rng(V)
  logits_BV = rng.normal(size=(500, V)).astype(np.float32) * 3
  logits_BV[:, ::3] = -np.inf
  keys = KEYS[:500]
  weights_BV = np.exp(logits_BV.astype(np.float64))
  sums_BV = np.cumsum(weights_BV, axis=-1)
  at_B = np.asarray(jax.vmap(jax.random.uniform)(keys)) * sums_BV[:, -1]
  tokens, _ = draw(logits_BV, keys, temperature=1.0)
  low_B, high_B = (sums_BV - weights_BV)[range(500), tokens], sums_BV[range(500), tokens]
  off = 1e-5 * sums_BV[:, -1]  # float32
  assert (low_B - off <= at_B).all() and (at_B <= high_B + off).all()
  assert np.isfinite(logits_BV[range(500), tokens]).all()


@pytest.mark.parametrize("more", [4, 200])  # exp(-200) is 0 in float32
@pytest.mark.parametrize(
  "how", [dict(temperature=0.0), dict(temperature=1.0), dict(top_k=3)], ids=str
)
def test_banned_tokens_are_never_sampled_and_count_in_the_models_logps(how, more):
  logits_BV = np.random.default_rng(0).normal(size=(4000, 37)).astype(np.float32)
  logits_BV[:, [3, 36]] += more
  how = sampling.Sampling(**DEFAULTS | {"temperature": 0.7} | how)
  tokens, logps, sampling_logps, label_logps, top_logps = sampling.sample_tokens(
    jnp.asarray(logits_BV.T), KEYS, how, banned_ids=(3, 36), label_ids=(5, 0)
  )
  assert not np.isin(tokens, [3, 36]).any()
  expected = scipy.special.log_softmax(logits_BV, axis=-1)
  np.testing.assert_allclose(logps, expected[range(4000), tokens], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(label_logps, expected[:, [5, 0]], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(top_logps, expected.max(-1), rtol=1e-5, atol=1e-5)
  if how.temperature == 1:
    logits_BV[:, [3, 36]] = -np.inf
    expected = logits_BV[range(4000), tokens] - scipy.special.logsumexp(logits_BV, axis=-1)
    np.testing.assert_allclose(sampling_logps, expected, atol=1e-5)


@pytest.mark.parametrize("how", [dict(), dict(temperature=0.0), dict(top_p=0.5)], ids=str)
def test_the_returned_log_probabilities_have_a_temperature_of_their_own(how):
  """That of the whole softmax at 0.7, whatever is sampled from; the labels' are of the model."""
  logits_BV = 3 * np.random.default_rng(0).normal(size=(4000, 37)).astype(np.float32)
  how = sampling.Sampling(**DEFAULTS | {"temperature": 0.7} | how, logps_temperature=0.7)
  tokens, logps, sampling_logps, label_logps, top_logps = sampling.sample_tokens(
    jnp.asarray(logits_BV.T), KEYS, how, banned_ids=(3,), label_ids=(5, 0)
  )
  expected = scipy.special.log_softmax(logits_BV / 0.7, axis=-1)
  np.testing.assert_allclose(logps, expected[range(4000), tokens], rtol=1e-5, atol=1e-5)
  models = scipy.special.log_softmax(logits_BV, axis=-1)
  np.testing.assert_allclose(label_logps, models[:, [5, 0]], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(top_logps, models.max(-1), rtol=1e-5, atol=1e-5)


def test_without_a_temperature_of_their_own_log_probabilities_have_the_sampling_s():
  how = sampling.Sampling(temperature=0.7, max_tokens=1, logps_temperature=None)
  assert how.logps_at == 0.7 and dataclasses.replace(how, logps_temperature=1.0).logps_at == 1
  with pytest.raises(ValueError, match="logps_temperature None is out of range"):
    dataclasses.replace(how, temperature=0.0)


def test_each_sequence_is_sampled_with_its_own_key():
  both, _ = draw(jnp.tile(LOGITS_BV, (2, 1)), KEYS[:2], temperature=1.0)
  alone, _ = draw(LOGITS_BV, KEYS[1:2], temperature=1.0)
  assert both[1] == alone[0]


@pytest.mark.parametrize(
  "wrong",
  [dict(temperature=-1), dict(top_p=0), dict(top_p=1.5), dict(top_k=-1), dict(max_tokens=0)],
)
def test_a_value_out_of_range_is_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    sampling.Sampling(**DEFAULTS | wrong)


@pytest.mark.parametrize("penalty", [1.05, 1.3, 0.7])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_repetition_penalty_is_transformers(penalty, temperature):
  """RepetitionPenaltyLogitsProcessor, then TemperatureLogitsWarper."""
  rng = np.random.default_rng(0)
  logits_BV = rng.normal(0, 3, (5, 40)).astype(np.float32)
  tokens_BT = rng.integers(0, 40, (5, 12))
  seen_BV = np.zeros((5, 40), bool)
  np.put_along_axis(seen_BV, tokens_BT, True, axis=1)
  theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(
    torch.tensor(tokens_BT), torch.tensor(logits_BV)
  )
  how = sampling.Sampling(temperature=temperature, max_tokens=1, repetition_penalty=penalty)
  found = sampling.sample_tokens(logits_BV.T, KEYS[:5], how, seen_VB=seen_BV.T)
  rows = np.arange(5)
  # Log-probabilities of the model are before the penalty.
  wanted = torch.tensor(logits_BV).log_softmax(-1).numpy()[rows, found.token_B]
  np.testing.assert_allclose(found.logp_B, wanted, atol=1e-5)
  if temperature == 0:
    np.testing.assert_array_equal(found.token_B, theirs.argmax(-1))
  else:
    wanted = (theirs / temperature).log_softmax(-1).numpy()[rows, found.token_B]
    np.testing.assert_allclose(found.sampling_logp_B, wanted, atol=1e-5)


def test_banned_tokens_in_runs_are_never_sampled():
  assert sampling.runs((7, 2, 3, 4, 9, 8, 2)) == [(2, 5), (7, 10)]
  logits_BV = jnp.tile(jnp.arange(12.0)[None], (len(KEYS), 1))
  how = sampling.Sampling(temperature=5.0, max_tokens=1)
  found = sampling.sample_tokens(logits_BV.T, KEYS, how, banned_ids=(7, 2, 3, 4, 9, 8))
  assert set(np.asarray(found.token_B).tolist()) == {0, 1, 5, 6, 10, 11}
  wanted = jax.nn.log_softmax(logits_BV[0])[found.token_B]
  np.testing.assert_allclose(found.logp_B, wanted, atol=1e-5)


def test_a_repetition_penalty_out_of_range_is_refused():
  with pytest.raises(ValueError, match="repetition_penalty 0 is out of range; .* above 0, or None"):
    sampling.Sampling(**(DEFAULTS | dict(repetition_penalty=0)))
