"""Prefill, insert, and decoding of chunks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.kernels import decode_attention, flash_attention
from cot_rm.models import kv_cache, qwen2_5_vl
from cot_rm.sampler import programs, sampling
from tests import chats

BUCKETS = packing.Buckets(tokens=(16,), patches=(16,), answers=())
PROMPTS = [chats.encoded(0, 9, (4,)), chats.encoded(1, 7)]
R, S, T, C = 3, 16, 8, 4
HOW = sampling.Sampling(temperature=1.0, max_tokens=T)


@pytest.fixture(scope="module")
def parts():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  graphdef, params = nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  return config, params, programs.make(graphdef, sampling.TokenIds((7,), (3, 4, 5, 6), (9,)))


def empty_cache(config):
  def zeros(rows, length):
    return [
      kv_cache.empty_kv_cache(rows, config.num_kv_heads, config.head_dim, length, jnp.float32)
      for _ in range(config.num_layers)
    ]

  halves = zeros(R, 2 * C), zeros(R, 2 * C)
  return programs.KVCache(zeros(R, S), [list(parts) for parts in zip(*halves, strict=True)])


def decode_slots(**changes):
  zeros = dict(token_B=0, position_B=0, generated_B=0, remaining_B=T, seed_B=0, sample_B=0)
  arrays = {name: np.full(R, value, np.int32) for name, value in zeros.items()}
  arrays["flat_index_B"] = np.arange(R, dtype=np.int32)
  arrays |= {"active_B": np.ones(R, bool), "seed_B": arrays["seed_B"].astype(np.uint32)}
  arrays |= {name: np.asarray(value) for name, value in changes.items()}
  return programs.DecodeSlots(**arrays)


def prompt_slots(mask_RS, group=1):
  """The samples of a prompt are neighbours."""
  return programs.PromptSlots(mask_RS, np.arange(R * group, dtype=np.int32).reshape(R, group))


def test_prompts_are_inserted_in_their_slots_and_padding_is_dropped(parts):
  config, params, compiled = parts
  prefilled = compiled.prefill(params, packing.prompts(PROMPTS, BUCKETS, rows=3))
  assert len(prefilled) == config.num_layers
  cache = compiled.insert(empty_cache(config), prefilled, np.array([2, 0, R], np.int32))
  for (keys, values), (new_keys, new_values) in zip(cache.prompts, prefilled, strict=True):
    for slot, row in ((2, 0), (0, 1)):
      np.testing.assert_array_equal(keys[slot], new_keys[row])
      np.testing.assert_array_equal(values[slot], new_values[row])
    assert not np.any(keys[1])


@pytest.mark.parametrize("stacked", [True, False])
def test_the_cache_is_sharded_over_slots_and_kv_heads(stacked):
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  kv = kv_cache.empty_kv_cache(4, 2, 8, S, jnp.float32, layers=(3,) if stacked else ())
  with sharding.use(mesh, {"batch": "fsdp", "kv_heads": "tensor"}):
    made = programs.empty_cache(kv if stacked else [kv], prompt_slots=4, decode_slots=8, parts=(T,))
  for x in jax.tree.leaves(made):
    lead, (rows, heads) = x.shape[:-4], x.shape[-4:-2]
    assert x.sharding.shard_shape(x.shape) == (*lead, rows // 4, heads // 2, *x.shape[-2:])


@pytest.mark.parametrize("prefill_chunk", [5, 8, 15, 16, 99])
def test_chunked_prefill_gives_the_same_keys_and_values(parts, prefill_chunk):
  config, params, compiled = parts
  graphdef = nnx.split(nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0))))[0]
  chunked = programs.make(graphdef, sampling.TokenIds((), ()), prefill_chunk=prefill_chunk)
  batch = packing.prompts(PROMPTS, BUCKETS, rows=3)
  counts = batch.segments > 0
  both = compiled.prefill(params, batch), chunked.prefill(params, batch)
  for one, other in zip(*both, strict=True):
    for a, b in zip(one, other, strict=True):
      assert a.shape == b.shape
    keys = np.abs(np.asarray(one[0] - other[0])).max((1, 2))  # [R, S]
    values = np.abs(np.asarray(one[1] - other[1])).max((1, 3))
    assert max(keys[counts].max(), values[counts].max()) < 2e-5


def test_a_chunk_continues_the_one_before_it(parts):
  """Two chunks of four are one of eight; an inactive slot counts no tokens."""
  config, params, compiled = parts
  prefilled = compiled.prefill(params, packing.prompts(PROMPTS, BUCKETS, rows=R))
  mask_RS = np.arange(S) < np.array([[len(p.tokens) - 1] for p in PROMPTS] + [[0]])
  begun = dict(
    active_B=[True, True, False],
    token_B=np.array([*(p.tokens[-1] for p in PROMPTS), 0], np.int32),
    position_B=np.array([*(p.next_position - 1 for p in PROMPTS), 0], np.int32),
    seed_B=np.array([1, 2, 3], np.uint32),
  )

  def decode(cache, slots, size=C):
    at = prompt_slots(mask_RS), decode_slots(**slots)
    return compiled.decode_chunk(params, cache, *at, sampling=HOW, size=size)

  def start():
    return empty_cache(config)._replace(prompts=jax.tree.map(jnp.copy, prefilled))

  _, whole = decode(start(), begun, size=2 * C)
  half, first = decode(start(), begun)
  np.testing.assert_array_equal(first.count_B, [C, C, 0])
  assert not np.any(first.stopped_B)
  continued = dict(token_B=first.tokens_BC[:, -1], generated_B=first.count_B, remaining_B=[3, 4, 4])
  _, second = decode(half, begun | continued)
  np.testing.assert_array_equal(second.count_B, [3, 4, 0])  # the first was at its limit
  for b, k in ((0, 3), (1, 4)):
    np.testing.assert_array_equal(whole.tokens_BC[b, :C], first.tokens_BC[b])
    np.testing.assert_array_equal(whole.tokens_BC[b, C : C + k], second.tokens_BC[b, :k])
    np.testing.assert_allclose(
      whole.logps_BC[b, C : C + k], second.logps_BC[b, :k], atol=2e-5, rtol=0
    )


def test_at_temperature_one_sampling_logps_are_the_models_without_banned_tokens(parts):
  config, params, compiled = parts
  _, out = compiled.decode_chunk(
    params,
    empty_cache(config),
    prompt_slots(np.zeros((R, S), bool)),
    decode_slots(token_B=[20, 21, 22]),
    sampling=HOW,
    size=C,
  )
  assert np.all(out.sampling_logps_BC >= out.logps_BC - 1e-6)
  assert np.allclose(out.sampling_logps_BC, out.logps_BC, atol=0.1)


@pytest.mark.parametrize("tpu", [False, True])
def test_layers_in_a_stack_give_what_layers_in_a_list_give(parts, tpu, monkeypatch):
  """Also by the kernels of a TPU, interpreted."""
  config, params, *_ = parts
  graphdef = nnx.split(nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0))))[0]
  batch = packing.prompts(PROMPTS, BUCKETS, rows=3)
  lengths = np.array([[0], *([len(p.tokens) - 1] for p in PROMPTS)])  # slot 0 is free

  def twice(*values):
    return np.repeat(np.array(values), 2)

  def at(generated, tokens):
    return programs.DecodeSlots(
      active_B=twice(False, True, True),
      token_B=tokens,
      position_B=twice(0, *(p.next_position - 1 for p in PROMPTS)).astype(np.int32),
      generated_B=twice(generated, generated, generated).astype(np.int32),
      remaining_B=twice(T, T, T).astype(np.int32),
      seed_B=twice(1, 2, 3).astype(np.uint32),
      sample_B=np.array([0, 1] * R, np.int32),
      flat_index_B=np.arange(2 * R, dtype=np.int32),
    )

  def chunks(stacked, cache_parts=(C, C)):
    ids = sampling.TokenIds(stop=(), banned=(5,), label=(9,))
    compiled = programs.make(graphdef, ids, prefill_chunk=8, stacked=stacked)
    prefilled = compiled.prefill(params, batch)
    cache = programs.empty_cache(prefilled, prompt_slots=R, decode_slots=2 * R, parts=cache_parts)
    cache = compiled.insert(cache, prefilled, np.array([1, 2, R], np.int32))
    tokens = twice(0, *(p.tokens[-1] for p in PROMPTS)).astype(np.int32)
    prompts = prompt_slots(np.arange(S) < lengths, 2)
    decode = functools.partial(compiled.decode_chunk, params, sampling=HOW, size=C)
    cache, one = decode(cache, prompts, at(0, tokens))
    _, two = decode(cache, prompts, at(C, one.tokens_BC[:, -1]))
    return one, two

  wanted = chunks(False)
  if tpu:
    monkeypatch.setattr(sharding, "platform", lambda: "tpu")
    for kernel, name in (
      (flash_attention, "flash_attention"),
      (decode_attention, "decode_attention"),
    ):
      monkeypatch.setattr(kernel, name, functools.partial(getattr(kernel, name), interpret=True))
  found = chunks(True, (2 * C,)) if tpu else chunks(True)
  for one, other in zip(wanted, found, strict=True):
    np.testing.assert_array_equal(one.tokens_BC, other.tokens_BC)
    np.testing.assert_allclose(one.logps_BC, other.logps_BC, atol=1e-5)
    np.testing.assert_allclose(one.label_logps_BCW, other.label_logps_BCW, atol=1e-5)
  assert len(np.unique(wanted[1].tokens_BC[2:])) > 4  # samples of their own


def test_logits_in_parts_of_the_vocabulary_are_those_of_the_whole(monkeypatch):
  monkeypatch.setattr(programs, "CAST_WORDS", 16)
  keys = jax.random.split(jax.random.key(0))
  head_VD = jax.random.normal(keys[0], (50, 24), jnp.bfloat16)
  x_BD = jax.random.normal(keys[1], (3, 24), jnp.bfloat16)
  whole_VB = jnp.einsum("VD,BD->VB", head_VD, x_BD, preferred_element_type=jnp.float32)
  for in_parts in (True, False):
    logits_VB = programs._logits(head_VD, x_BD, in_parts=in_parts)
    np.testing.assert_allclose(logits_VB, whole_VB, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("in_parts", [True, False])
def test_a_head_of_16_bits_in_parts_is_never_cast_as_a_whole_on_a_cpu(in_parts):
  head_VD, x_BD = (jax.ShapeDtypeStruct((n, 512), jnp.bfloat16) for n in (1 << 16, 1))
  logits = jax.jit(
    functools.partial(programs._logits, in_parts=in_parts), compiler_options=sharding.KEEP_CASTS
  )
  temporary = logits.lower(head_VD, x_BD).compile().memory_analysis().temp_size_in_bytes
  assert (temporary < head_VD.size * 4 / 4) == in_parts
