"""How many prompts fit the KV-cache limit of the sampler."""

import dataclasses

import jax
import pytest
from flax import nnx

from configs import base
from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.models import qwen2_5_vl
from cot_rm.sampler import programs, sampling
from cot_rm.sampler.limits import Limits, Shape
from tests import chats

SHAPE = Shape(prompt=100, answer=20, group=4, position_bytes=10)


def size(prompts, slots, prefill=1):
  """Three chunks of 5 of an answer are cached, and one is in the chunk buffer."""
  return 10 * (100 * (slots + prefill) + prompts * 4 * (15 + 5))


@pytest.mark.parametrize(
  "kv_memory, prompts",
  [(0, 8), (size(1, 1), 1), (size(2, 3) - 1, 1), (size(3, 4) + 1, 3), (size(8, 12, 2), 8)],
)
def test_as_many_prompts_are_answered_as_their_keys_and_values_fit(kv_memory, prompts):
  limits = Limits(decode_chunk=5, kv_memory=kv_memory)
  assert limits.num_prompts(8, SHAPE, example_id="a") == prompts
  assert not kv_memory or limits.kv_bytes(prompts, SHAPE) <= kv_memory


@pytest.mark.parametrize(
  ("prompts", "extra_prompts", "group", "shards", "slots"),
  [
    (8, 0.5, 4, 1, 12),
    (3, 0.5, 4, 1, 4),
    (1, 0.5, 4, 1, 1),
    (8, 0.0, 4, 1, 8),
    (8, 0.5, 1, 8, 16),  # as many on each shard
    (3, 0.5, 4, 8, 4),  # decode slots that cannot be sharded evenly are not
  ],
)
def test_there_are_prompt_slots_for_prompts_that_wait(prompts, extra_prompts, group, shards, slots):
  limits = Limits(extra_prompts=extra_prompts)
  assert limits.prompt_slots(prompts, group=group, shards=shards) == slots


@pytest.mark.parametrize(
  "answer, chunk, parts",
  [
    (52, 13, (13,) * 3),
    (2048, 16, (512,) * 4),
    (10, 16, ()),
    (48, 16, (16,) * 2),
    (70, 16, (16,) * 4),
  ],
)
def test_on_a_cpu_all_but_the_last_chunk_is_cached_in_few_parts(answer, chunk, parts):
  assert Limits(decode_chunk=chunk).cache_parts(answer) == parts


def test_the_mesh_that_programs_are_for_decides_the_layout_of_the_cache(monkeypatch):
  """A TPU that is only compiled for has one part of whole chunks, and stacks of layers."""
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  model = nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  graphdef, params = nnx.split(model)
  buckets = packing.Buckets(tokens=(16,), patches=(), answers=())
  batch = packing.prompts([chats.encoded(0, 9)], buckets, rows=1)
  # Made before the mesh is known, as Judge does.
  made = programs.make(graphdef, sampling.TokenIds((), ()), prefill_chunk=16)
  assert isinstance(jax.eval_shape(made.prefill, params, batch), list)
  jax.clear_caches()
  # Attention of a prompt alone would need a TPU.
  monkeypatch.setattr(sharding, "platform", lambda: "tpu")
  keys, _ = jax.eval_shape(made.prefill, params, batch)
  assert keys.shape[:2] == (config.num_layers, 1)
  assert Limits(decode_chunk=16).cache_parts(48) == (48,)


def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers():
  need = size(1, 1)
  with pytest.raises(ValueError, match=f"'a'.*100 tokens.*{need:,} bytes.*limits is {need - 1:,}"):
    Limits(decode_chunk=5, kv_memory=need - 1).num_prompts(8, SHAPE, example_id="a")


def test_the_longest_prompt_that_fits_is_known():
  for kv_memory, longest in ((size(1, 1), 100), (size(1, 1) - 1, 99), (10, 0)):
    assert Limits(decode_chunk=5, kv_memory=kv_memory).longest_prompt(SHAPE) == longest


def test_several_shards_need_slots_on_each():
  need, shape = size(4, 8, 4), dataclasses.replace(SHAPE, divisor=4, shards=4)
  assert Limits(decode_chunk=5, kv_memory=need).num_prompts(9, shape, example_id="a") == 4
  with pytest.raises(ValueError, match=f"4 prompts.*{need:,} bytes"):
    Limits(decode_chunk=5, kv_memory=need - 1).num_prompts(9, shape, example_id="a")


@pytest.mark.parametrize(
  "wrong",
  [
    dict(max_group=-1),
    dict(decode_chunk=0),
    dict(prefill_chunk=-1),
    dict(kv_memory=-1),
    dict(extra_prompts=-1),
    dict(weights="int9"),
  ],
)
def test_a_value_out_of_range_is_named(wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    Limits(**wrong)


def test_the_defaults_are_those_of_the_config():
  assert Limits(**base.get_config().sampler) == Limits()
