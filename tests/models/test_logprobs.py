"""Log-probabilities of a batch: aligned with the tokens, pictures shared by a group."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm.checkpoints import fingerprint
from cot_rm.models import logprobs, qwen2_5_vl
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def model():
  return qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0))


def test_at_t_stands_the_log_probability_of_token_t(model):
  batch = fingerprint.probe(oracle.CONFIG)
  x = model.embed(batch.tokens, batch.visual, model.features(batch.pictures))
  hidden = np.asarray(model.hidden(x, batch.positions, batch.segments))
  logits = hidden @ np.asarray(model.head).T
  wanted = np.asarray(jax.nn.log_softmax(logits, -1))
  found = np.asarray(logprobs.of(model, batch))
  assert found[0, 0] == 0
  for t in range(1, found.shape[1]):
    np.testing.assert_allclose(found[0, t], wanted[0, t - 1, batch.tokens[0, t]], atol=1e-5)


def test_a_group_shares_the_pictures_of_its_question(model):
  one = fingerprint.probe(oracle.CONFIG)
  other = dataclasses.replace(one.pictures, patches=one.pictures.patches[:, ::-1])
  stack = lambda *x: np.concatenate(x)
  twice = jax.tree.map(lambda x: stack(x, x), dataclasses.replace(one, pictures=None))
  pictures = jax.tree.map(stack, one.pictures, other)
  groups = dataclasses.replace(jax.tree.map(stack, twice, twice), pictures=pictures)
  run = logprobs.make(nnx.split(model)[0])
  found = run(nnx.state(model), groups)
  wanted = [
    logprobs.of(model, dataclasses.replace(one, pictures=pictures))[0]
    for pictures in (one.pictures, other)
  ]
  for row, expected in zip(found, (wanted[0], wanted[0], wanted[1], wanted[1]), strict=True):
    np.testing.assert_allclose(row, expected, atol=1e-5)
  assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
