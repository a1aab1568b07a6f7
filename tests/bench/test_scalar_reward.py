"""The scalar reward model: its loss, its time, its prompts, and that it learns."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from cot_rm import schema, sharding, train
from cot_rm.data import packing
from cot_rm.models import qwen2_5_vl
from tests import chats

CONFIG = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
BUCKETS = packing.Buckets(tokens=(16,), patches=(16,), answers=())
GOOD, BAD = 301, 302  # tokens


def batch(rng, pairs, rows):
  """Pairs whose preferred candidate has the token GOOD where the other one has BAD."""
  out = []
  for seed in rng.integers(0, 1 << 30, pairs):
    prompt = chats.encoded(int(seed), 12, (4,))
    for word in (GOOD, BAD):
      tokens = prompt.tokens.copy()
      tokens[9] = word
      out.append(dataclasses.replace(prompt, tokens=tokens))
  return packing.prompts(out, BUCKETS, rows=rows)


def model(bench):
  return bench.RewardModel(qwen2_5_vl.Model(CONFIG, rngs=nnx.Rngs(0)))


def test_the_loss_and_its_gradient_are_those_of_torch(bench):
  rewards = np.array([2.0, 1.0, -3.0, 4.0, 0.5, 0.5, 60.0, -60.0], np.float32)
  weights = np.full(4, 0.25, np.float32)
  found = lambda x: bench.loss(x, None, weights)[0]
  asked = torch.tensor(rewards, requires_grad=True)
  expected = -torch.nn.functional.logsigmoid(asked[::2] - asked[1::2]).mean()
  expected.backward()
  assert float(found(rewards)) == pytest.approx(expected.item(), rel=1e-6)
  np.testing.assert_allclose(jax.grad(found)(rewards), asked.grad, rtol=1e-5, atol=1e-8)


def test_the_loss_of_one_pair_is_the_bradley_terry_loss_by_hand(bench):
  value, metrics = bench.loss(jnp.array([1.0, 3.0]), None, jnp.ones(1))
  assert float(value) == pytest.approx(-math.log(1 / (1 + math.exp(2.0))), rel=1e-6)
  assert metrics["train/accuracy"] == 0


def test_the_reward_is_the_head_times_the_last_hidden_state(bench):
  made = batch(np.random.default_rng(0), 2, rows=4)
  reward_model = model(bench)
  assert not np.asarray(bench.rewards(reward_model, made)).any()  # the head begins at 0
  w_D = np.random.default_rng(1).normal(size=CONFIG.hidden_size).astype(np.float32)
  reward_model.weight.set_value(jnp.asarray(w_D))
  trunk = reward_model.trunk
  x_BTD = trunk.embed(made.tokens, made.visual, trunk.features(made.pictures))
  x_BTD, _ = trunk.prefill(x_BTD, made.positions, made.segments)
  np.testing.assert_allclose(bench.rewards(reward_model, made), x_BTD[:, 11] @ w_D, rtol=1e-4)


def test_padding_has_no_weight(bench):
  made = batch(np.random.default_rng(0), 3, rows=8)
  np.testing.assert_allclose(bench.pair_weights(made), [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)


def test_a_scalar_head_learns_to_tell_two_words_apart(bench):
  tx = train.optax.adam(1.0)
  graphdef, params = nnx.split(model(bench))
  mesh = sharding.make_mesh({"data": 1}, jax.devices()[:1])
  rules = dict.fromkeys(("batch", "embed", "mlp", "heads", "kv_heads", "vocab"))
  state, shardings = train.init_state(params, tx, mesh, rules)
  step, rng, losses = bench.make_step(graphdef, tx, shardings), np.random.default_rng(0), []
  with sharding.use(mesh, rules):
    for _ in range(30):
      state, out = step(state, batch(rng, 8, rows=16), 1e-3)
      losses.append(float(out["train/loss"]))
    unseen = batch(np.random.default_rng(1), 16, rows=32)
    found_B = bench.rewards(nnx.merge(graphdef, state.params), unseen)
  assert losses[0] == pytest.approx(math.log(2), rel=1e-6)
  assert losses[-1] < 0.1
  assert (found_B[::2] > found_B[1::2]).all()


def test_each_candidate_has_a_prompt_of_its_own(bench):
  pair = schema.Example.images("a red star", "a.png", "b.png")
  shown = [[part for part in chat[0]["content"]] for chat in bench.chats(pair)]
  caption = {"type": "text", "text": "Caption: a red star"}
  assert shown == [[{"type": "image", "image": name}, caption] for name in ("a.png", "b.png")]

  pair = schema.Example.answers("How many?", "two", "three", media="a.png")
  texts = [chat[0]["content"][-1]["text"] for chat in bench.chats(pair)]
  assert texts == ["Question: How many?\nAnswer: two", "Question: How many?\nAnswer: three"]
  assert [chat[0]["content"][0]["image"] for chat in bench.chats(pair)] == ["a.png", "a.png"]

  pair = schema.Example.videos("a cat jumps", "a.mp4", "b.mp4")
  assert [chat[0]["content"][0]["video"] for chat in bench.chats(pair)] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("gold, order", [(1, ["a", "b"]), (2, ["b", "a"])])
def test_the_preferred_candidate_comes_first(bench, gold, order):
  pair = schema.Example.images("a red star", "a", "b", gold=gold)
  encode = bench.make_encode(lambda chat, *, id: chat[0]["content"][0]["image"])
  assert encode(pair) == order


def test_a_pair_without_a_gold_answer_is_named(bench):
  with pytest.raises(schema.BadExample, match=r"'one'.*no gold answer"):
    bench.make_encode(None)(schema.Example.images("a red star", "a", "b", id="one"))


def test_the_steps_are_those_that_fit_into_the_time(bench):
  assert bench.expected_steps(10, spent=5.0, seconds=100.0) == 200
  assert bench.expected_steps(10, spent=100.0, seconds=100.0) == 11
