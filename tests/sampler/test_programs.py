"""Prompts into seats, and chunks of tokens out of slots."""

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
  made = programs.make(graphdef, stop_ids=(7,), banned_ids=(3, 4, 5, 6), watched_ids=(9,))
  return config, params, *made


def memory(config):
  some = lambda rows, length: [
    kv_cache.empty_kv_cache(rows, config.num_kv_heads, config.head_dim, length, jnp.float32)
    for _ in range(config.num_layers)
  ]
  halves = some(R, 2 * C), some(R, 2 * C)
  return programs.Memory(some(R, S), [list(parts) for parts in zip(*halves, strict=True)])


def slots(**changes):
  nothing = dict(token_B=0, first_B=0, age_B=0, left_B=T, seed_B=0, sample_B=0)
  arrays = {name: np.full(R, value, np.int32) for name, value in nothing.items()}
  arrays["place_B"] = np.arange(R, dtype=np.int32)
  arrays |= {"live_B": np.ones(R, bool), "seed_B": arrays["seed_B"].astype(np.uint32)}
  return programs.Slots(**arrays | {name: np.asarray(value) for name, value in changes.items()})


def seats(mask_RS, group=1):
  """Each sample behind its prompt."""
  return programs.Seats(mask_RS, np.arange(R * group, dtype=np.int32).reshape(R, group))


def test_prompts_go_into_their_seats_and_padding_into_none(parts):
  config, params, read, fill, _ = parts
  kept = read(params, packing.prompts(PROMPTS, BUCKETS, rows=3))
  assert len(kept) == config.num_layers
  filled = fill(memory(config), kept, np.array([2, 0, R], np.int32))
  for (keys, values), (new_keys, new_values) in zip(filled.prompts, kept, strict=True):
    for seat, row in ((2, 0), (0, 1)):
      np.testing.assert_array_equal(keys[seat], new_keys[row])
      np.testing.assert_array_equal(values[seat], new_values[row])
    assert not np.any(keys[1])


@pytest.mark.parametrize("stacked", [True, False])
def test_what_is_kept_is_shared_over_rows_and_kv_heads(stacked):
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  kept = kv_cache.empty_kv_cache(4, 2, 8, S, jnp.float32, layers=(3,) if stacked else ())
  with sharding.use(mesh, {"batch": "fsdp", "kv_heads": "tensor"}):
    made = programs.empty(kept if stacked else [kept], seats=4, slots=8, parts=(T,))
  for x in jax.tree.leaves(made):
    lead, (rows, heads) = x.shape[:-4], x.shape[-4:-2]
    assert x.sharding.shard_shape(x.shape) == (*lead, rows // 4, heads // 2, *x.shape[-2:])


@pytest.mark.parametrize("piece", [5, 8, 15, 16, 99])
def test_prompts_read_in_pieces_are_the_same(parts, piece):
  config, params, read, _, _ = parts
  graphdef = nnx.split(nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0))))[0]
  pieces, _, _ = programs.make(graphdef, stop_ids=(), banned_ids=(), watched_ids=(), piece=piece)
  batch = packing.prompts(PROMPTS, BUCKETS, rows=3)
  counts = batch.segments > 0
  for one, other in zip(read(params, batch), pieces(params, batch), strict=True):
    for a, b in zip(one, other, strict=True):
      assert a.shape == b.shape
    keys = np.abs(np.asarray(one[0] - other[0])).max((1, 2))  # [R, S]
    values = np.abs(np.asarray(one[1] - other[1])).max((1, 3))
    assert max(keys[counts].max(), values[counts].max()) < 2e-5


def test_a_chunk_goes_on_where_the_one_before_it_ended(parts):
  """Two chunks of four are one of eight; an empty slot writes nothing that counts."""
  config, params, read, _, write = parts
  kept = read(params, packing.prompts(PROMPTS, BUCKETS, rows=R))
  mask_RS = np.arange(S) < np.array([[len(p.tokens) - 1] for p in PROMPTS] + [[0]])
  begun = dict(
    live_B=[True, True, False],
    token_B=np.array([*(p.tokens[-1] for p in PROMPTS), 0], np.int32),
    first_B=np.array([*(p.next_position - 1 for p in PROMPTS), 0], np.int32),
    seed_B=np.array([1, 2, 3], np.uint32),
  )
  start = lambda: memory(config)._replace(prompts=jax.tree.map(jnp.copy, kept))
  _, whole = write(params, start(), seats(mask_RS), slots(**begun), sampling=HOW, size=2 * C)
  half, first = write(params, start(), seats(mask_RS), slots(**begun), sampling=HOW, size=C)
  np.testing.assert_array_equal(first.count_B, [C, C, 0])
  assert not np.any(first.stopped_B)
  later = slots(
    **begun | dict(token_B=first.tokens_BC[:, -1], age_B=first.count_B, left_B=[3, 4, 4])
  )
  _, second = write(params, half, seats(mask_RS), later, sampling=HOW, size=C)
  np.testing.assert_array_equal(second.count_B, [3, 4, 0])  # the first was at its limit
  for b, k in ((0, 3), (1, 4)):
    np.testing.assert_array_equal(whole.tokens_BC[b, :C], first.tokens_BC[b])
    np.testing.assert_array_equal(whole.tokens_BC[b, C : C + k], second.tokens_BC[b, :k])
    np.testing.assert_allclose(
      whole.logps_BC[b, C : C + k], second.logps_BC[b, :k], atol=2e-5, rtol=0
    )


def test_at_temperature_one_what_was_drawn_from_is_the_model_without_its_banned_tokens(parts):
  config, params, _, _, write = parts
  _, out = write(
    params,
    memory(config),
    seats(np.zeros((R, S), bool)),
    slots(token_B=[20, 21, 22]),
    sampling=HOW,
    size=C,
  )
  assert np.all(out.drawn_BC >= out.logps_BC - 1e-6)
  assert np.allclose(out.drawn_BC, out.logps_BC, atol=0.1)


@pytest.mark.parametrize("tpu", [False, True])
def test_layers_in_a_stack_give_what_layers_in_a_list_give(parts, tpu, monkeypatch):
  """Also by the kernels of a TPU, interpreted."""
  config, params, *_ = parts
  graphdef = nnx.split(nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0))))[0]
  batch = packing.prompts(PROMPTS, BUCKETS, rows=3)
  lengths = np.array([[0], *([len(p.tokens) - 1] for p in PROMPTS)])  # the first seat is empty
  twice = lambda *values: np.repeat(np.array(values), 2)

  def at(age, tokens):
    return programs.Slots(
      live_B=twice(False, True, True),
      token_B=tokens,
      first_B=twice(0, *(p.next_position - 1 for p in PROMPTS)).astype(np.int32),
      age_B=twice(age, age, age).astype(np.int32),
      left_B=twice(T, T, T).astype(np.int32),
      seed_B=twice(1, 2, 3).astype(np.uint32),
      sample_B=np.array([0, 1] * R, np.int32),
      place_B=np.arange(2 * R, dtype=np.int32),
    )

  def chunks(stacked, rooms=(C, C)):
    read, fill, write = programs.make(
      graphdef, stop_ids=(), banned_ids=(5,), watched_ids=(9,), piece=8, stacked=stacked
    )
    kept = read(params, batch)
    empty = programs.empty(kept, seats=R, slots=2 * R, parts=rooms)
    filled = fill(empty, kept, np.array([1, 2, R], np.int32))
    mask_RS, tokens = np.arange(S) < lengths, twice(0, *(p.tokens[-1] for p in PROMPTS))
    memory, one = write(
      params, filled, seats(mask_RS, 2), at(0, tokens.astype(np.int32)), sampling=HOW, size=C
    )
    _, two = write(
      params, memory, seats(mask_RS, 2), at(C, one.tokens_BC[:, -1]), sampling=HOW, size=C
    )
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
    np.testing.assert_allclose(one.watched_BCW, other.watched_BCW, atol=1e-5)
  assert len(np.unique(wanted[1].tokens_BC[2:])) > 4  # samples of their own
