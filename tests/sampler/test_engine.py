"""What the engine samples is what the model says."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from cot_rm.sampler import engine, sampling
from tests import chats

BUCKETS = packing.Buckets(tokens=(16, 32, 64), patches=(16, 48))
PROMPTS = [chats.encoded(0, 9, (4,)), chats.encoded(1, 7), chats.encoded(2, 14, (2, 5))]
STOP, BANNED = (7,), (3, 4, 5, 6)
WARM = sampling.Sampling(temperature=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def parts():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  return nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def run(parts):
  graphdef, params = parts
  made = engine.Engine(graphdef, stop_ids=STOP, banned_ids=BANNED, watched_ids=(9, 10))

  def go(prompts, seeds, *, n=1, how=WARM, rows=None):
    batch = packing.prompts(prompts, BUCKETS, rows=rows or len(prompts))
    return made(params, batch, [p.next_position for p in prompts], seeds, n=n, sampling=how)

  go.engine = made
  return go


def forward(parts, prompt, tokens):
  """Log-probabilities of the tokens by one forward pass over prompt and answer."""
  batch = packing.pack([[packing.Item(prompt, tokens)]], BUCKETS, rows=1)
  logps_BT = logprobs.make(parts[0])(parts[1], batch)
  return np.asarray(logps_BT)[0, len(prompt.tokens) : len(prompt.tokens) + len(tokens)]


def test_cached_decode_equals_the_full_forward_token_by_token(parts, run):
  for prompt, group in zip(PROMPTS, run(PROMPTS, [1, 2, 3], n=2, rows=4), strict=True):
    for one in group:
      np.testing.assert_allclose(one.logps, forward(parts, prompt, one.tokens), atol=2e-5)


def test_greedy_takes_the_likeliest_allowed_token_of_the_full_forward(parts, run):
  greedy = run(PROMPTS[:1], [0], how=sampling.Sampling(max_tokens=6))[0][0]
  allowed = [t for t in range(400) if t not in BANNED]
  for at, token in enumerate(greedy.tokens):
    batch = packing.pack(
      [
        [packing.Item(PROMPTS[0], np.append(greedy.tokens[:at], t).astype(np.int32))]
        for t in allowed
      ],
      BUCKETS,
      rows=len(allowed),
    )
    logps = np.asarray(logprobs.make(parts[0])(parts[1], batch))[:, len(PROMPTS[0].tokens) + at]
    assert allowed[int(logps.argmax())] == token
    if at == 1:
      break  # two steps: one from the prefill, one from the cache


def test_a_group_of_n_equals_n_singles(run):
  group = run(PROMPTS[2:], [5], n=3)[0]
  for g, one in enumerate(group):
    again = run(PROMPTS[2:], [5], n=g + 1)[0][g]
    np.testing.assert_array_equal(one.tokens, again.tokens)
    np.testing.assert_allclose(one.logps, again.logps, atol=2e-5)
  assert len({tuple(one.tokens) for one in group}) == 3


def test_a_sample_depends_on_nothing_else_in_its_batch(run):
  together = run(PROMPTS, [1, 2, 3], n=2, rows=4)
  for q in range(3):
    alone = run(PROMPTS[q : q + 1], [q + 1], n=2)[0]
    for a, b in zip(together[q], alone, strict=True):
      np.testing.assert_array_equal(a.tokens, b.tokens)


def test_picture_tokens_are_never_sampled(run):
  how = sampling.Sampling(temperature=50.0, max_tokens=64)  # nearly uniform
  tokens = np.concatenate([one.tokens for one in run(PROMPTS[:1], [0], n=64, how=how)[0]])
  assert len(tokens) > 2000 and not np.isin(tokens, BANNED).any()


def test_an_answer_ends_at_its_stop_token_or_at_the_limit(run):
  how = sampling.Sampling(temperature=50.0, max_tokens=200)
  group = run(PROMPTS[:1], [0], n=32, how=how)[0]
  assert {one.finish for one in group} == {"stop", "length"}
  for one in group:
    assert (one.tokens[-1] == STOP[0]) == (one.finish == "stop")
    assert not (one.tokens[:-1] == STOP[0]).any()
    assert len(one.logps) == len(one.watched) == len(one.tokens) <= 200


def test_watched_tokens_have_their_log_probability_at_every_step(parts, run):
  one = run(PROMPTS[:1], [0])[0][0]
  for w, token in enumerate((9, 10)):
    tokens = np.append(one.tokens[:3], token).astype(np.int32)
    np.testing.assert_allclose(one.watched[3, w], forward(parts, PROMPTS[0], tokens)[-1], atol=2e-5)


def test_weights_are_an_argument(parts, run):
  doubled = jax.tree.map(lambda x: 2 * x, parts[1])
  batch = packing.prompts(PROMPTS[:1], BUCKETS, rows=1)
  one = run.engine(doubled, batch, [9], [1], n=1, sampling=WARM)[0][0]
  assert not np.array_equal(one.logps, run(PROMPTS[:1], [1])[0][0].logps)
