"""Padding and packing change no number that counts, and lose nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from tests import chats

BUCKETS = packing.Buckets(tokens=(16, 32, 64), patches=(16, 48), answers=(8,))


def item(seed, length, merged, answer, **extra):
  tokens = np.random.default_rng(seed + 100).integers(8, 400, answer).astype(np.int32)
  return packing.Item(chats.encoded(seed, length, merged), tokens, **extra)


ITEMS = [item(0, 9, (4,), 5), item(1, 7, (), 3), item(2, 14, (2, 5), 6)]


@pytest.fixture(scope="module")
def logps():
  graphdef, params = nnx.split(qwen2_5_vl.Model(qwen2_5_vl.PRESETS["tiny"], rngs=nnx.Rngs(0)))
  compiled = logprobs.make_batch_logps(graphdef)
  return lambda batch: np.asarray(compiled(params, batch))


def answers(logps_BT, batch):
  """The log-probabilities that count, per item, in order."""
  mask, segments = np.asarray(batch.mask) > 0, np.asarray(batch.segments)
  return [
    logps_BT[b][mask[b] & (segments[b] == s)]
    for b in range(len(mask))
    for s in range(1, segments[b].max(initial=0) + 1)
  ]


def test_packed_equals_alone(logps):
  alone = [
    answers(logps(batch), batch)[0]
    for batch in (packing.pack([[i]], BUCKETS, rows=1) for i in ITEMS)
  ]
  batch = packing.pack([ITEMS[:2], ITEMS[2:]], BUCKETS, rows=3)
  for a, b in zip(alone, answers(logps(batch), batch), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_more_padding_changes_nothing(logps):
  small = packing.pack([[ITEMS[0]]], BUCKETS, rows=1)
  large = packing.pack(
    [[ITEMS[0]]], packing.Buckets(tokens=(64,), patches=(48,), answers=()), rows=4
  )
  assert small.tokens.shape == (1, 16) and large.tokens.shape == (4, 64)
  np.testing.assert_allclose(
    answers(logps(small), small)[0], answers(logps(large), large)[0], atol=2e-5
  )


def test_left_padding_changes_nothing(logps):
  right = packing.pack(
    [[ITEMS[0]]], packing.Buckets(tokens=(20,), patches=(16,), answers=()), rows=1
  )
  fields = ("tokens", "positions", "segments", "visual", "mask")
  left = dataclasses.replace(
    right, **{name: np.roll(getattr(right, name), 6, axis=1) for name in fields}
  )
  np.testing.assert_allclose(
    answers(logps(left), left)[0], answers(logps(right), right)[0], atol=2e-5
  )


def test_a_group_shares_its_prompt_and_its_pictures(logps):
  prompt = ITEMS[2].prompt
  group = [packing.Item(prompt, ITEMS[k].answer, advantage=k) for k in range(3)]
  batch = packing.groups([group, group], BUCKETS, rows=2)
  assert batch.prompts.pictures.patches.shape[0] == batch.prompts.tokens.shape[0] == 2
  assert batch.tokens.shape == (6, 8) and batch.pictures is None
  alone = [packing.pack([[one]], BUCKETS, rows=1) for one in group]
  want = [answers(logps(one), one)[0] for one in alone]
  for a, b in zip(want * 2, answers(logps(batch), batch), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
  np.testing.assert_array_equal(batch.advantages.max(1), [0, 1, 2, 0, 1, 2])


def test_sampled_logps_stand_beside_their_tokens():
  one = item(0, 5, (), 3, logps=np.array([-1, -2, -3], np.float32), advantage=2.0)
  batch = packing.pack([[one]], BUCKETS, rows=1)
  np.testing.assert_array_equal(batch.old_logps[0, 5:8], [-1, -2, -3])
  np.testing.assert_array_equal(batch.tokens[0, 5:8], one.answer)
  np.testing.assert_array_equal(batch.mask[0], (np.arange(16) >= 5) & (np.arange(16) < 8))


def test_a_batch_without_pictures_has_none():
  assert packing.prompts([chats.encoded(0, 5)], BUCKETS, rows=2).pictures is None


def test_the_pictures_reach_the_answer(logps):
  batch = packing.pack([[ITEMS[0]]], BUCKETS, rows=1)
  blank = dataclasses.replace(batch, pictures=jax.tree.map(jnp.zeros_like, batch.pictures))
  assert np.abs(logps(batch) - logps(blank)).max() > 1e-3


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(visual=np.full(9, -1, np.int32)), "'chat-0': 0 picture tokens for 4 merged patches"),
    (dict(patches=np.zeros((12, 1176), np.float32)), "4 picture tokens for 3 merged patches"),
  ],
)
def test_a_count_that_does_not_match_names_the_sample(change, message):
  broken = dataclasses.replace(ITEMS[0], prompt=dataclasses.replace(ITEMS[0].prompt, **change))
  with pytest.raises(ValueError, match=message):
    packing.pack([[broken]], BUCKETS, rows=1)


def test_too_long_names_the_sample_the_number_and_the_knob():
  with pytest.raises(ValueError, match=r"'chat-9': 70 tokens > 64.*config.buckets.tokens"):
    packing.prompts([chats.encoded(9, 70)], BUCKETS, rows=1)
  with pytest.raises(ValueError, match=r"'chat-9': 52 patches > 48.*config.buckets.patches"):
    packing.prompts([chats.encoded(9, 40, (13,))], BUCKETS, rows=1)


def test_the_number_of_shapes_is_known_beforehand():
  assert BUCKETS.num_shapes == 9  # 3 lengths, and 0, 16 or 48 patches


def test_a_visual_token_stands_for_as_many_patches_as_its_family_merges():
  """A family that merges 3 by 3 patches, in one row with another prompt of its own."""
  first, second = (item(seed, 9, (2,), 3) for seed in (0, 1))
  merged_9 = [
    dataclasses.replace(
      one,
      prompt=dataclasses.replace(
        one.prompt,
        patches_per_token=9,
        patches=np.ones((18, 6), np.float32),
        hw=np.zeros((18, 2), np.int32),
        windows=np.ones(18, np.int32),
        frames=np.ones(18, np.int32),
      ),
    )
    for one in (first, second)
  ]
  batch = packing.pack([merged_9], BUCKETS, rows=1)
  visual = batch.visual[0][batch.visual[0] >= 0]
  np.testing.assert_array_equal(visual, [0, 1, 2, 3])
  assert (batch.pictures.windows[0] > 0).sum() == 36
