"""What the engine samples is what the model says."""

import dataclasses
import functools
import threading
import weakref

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from cot_rm.sampler import engine, sampling
from cot_rm.sampler.limits import Limits
from tests import chats

BUCKETS = packing.Buckets(tokens=(16, 32, 64), patches=(16, 48), answers=())
PROMPTS = [chats.encoded(0, 9, (4,)), chats.encoded(1, 7), chats.encoded(2, 20, (2, 5))]
POSITION = 4 * qwen2_5_vl.PRESETS["tiny"].kv_numbers_per_token  # bytes, in float32
STOP, BANNED = (7,), (3, 4, 5, 6)
LABELS = (9, 10)
WARM = sampling.Sampling(temperature=1.0, max_tokens=12)


def make_engine(graphdef, *, stop=STOP, label=(), max_prompts, limits):
  return engine.Engine(
    graphdef,
    sampling.TokenIds(stop, BANNED, label),
    buckets=BUCKETS,
    pack=functools.partial(packing.prompts, buckets=BUCKETS),
    max_prompts=max_prompts,
    position_bytes=POSITION,
    limits=limits,
  )


@pytest.fixture(scope="module")
def parts():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  return nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def run(parts):
  graphdef, params = parts

  @functools.cache
  def made(max_prompts, limits):
    return make_engine(graphdef, label=LABELS, max_prompts=max_prompts, limits=limits)

  def engine_of(max_prompts=3, **limits):
    return made(max_prompts, Limits(decode_chunk=4, **limits))

  def sample(
    prompts, seeds, *, n=1, how=WARM, max_prompts=3, params=params, limits=(), **callbacks
  ):
    found = engine_of(max_prompts, **dict(limits))
    return found(params, prompts, seeds, n=n, sampling=how, **callbacks)

  sample.engine = engine_of
  return sample


def forward(parts, prompt, tokens):
  """Log-probabilities of the tokens by one forward pass over prompt and answer."""
  batch = packing.pack([[packing.Item(prompt, tokens)]], BUCKETS, rows=1)
  logps_BT = logprobs.make_batch_logps(parts[0])(parts[1], batch)
  return np.asarray(logps_BT)[0, len(prompt.tokens) : len(prompt.tokens) + len(tokens)]


def test_cached_decode_equals_the_full_forward_token_by_token(parts, run):
  for prompt, group in zip(PROMPTS, run(PROMPTS, [1, 2, 3], n=2, max_prompts=4), strict=True):
    for one in group:
      np.testing.assert_allclose(one.logps, forward(parts, prompt, one.tokens), atol=2e-5)


def candidates(parts, prompt, before, allowed):
  """Log-probabilities of each of the allowed tokens behind these of an answer."""
  items = [[packing.Item(prompt, np.append(before, token).astype(np.int32))] for token in allowed]
  batch = packing.pack(items, BUCKETS, rows=len(allowed))
  return np.asarray(logprobs.make_batch_logps(parts[0])(parts[1], batch))[
    :, len(prompt.tokens) + len(before)
  ]


ALLOWED = [token for token in range(400) if token not in BANNED]


def test_greedy_takes_the_likeliest_allowed_token_of_the_full_forward(parts, run):
  greedy = run(PROMPTS[:1], [0], how=sampling.Sampling(temperature=0.0, max_tokens=6))[0][0]
  for at in (0, 1):  # one from the prefill, one from the cache
    logps = candidates(parts, PROMPTS[0], greedy.tokens[:at], ALLOWED)
    assert ALLOWED[int(logps.argmax())] == greedy.tokens[at]


def test_sampling_logps_are_the_models_after_temperature_and_top_k(parts, run):
  how = sampling.Sampling(temperature=0.7, top_k=5, max_tokens=3)
  one = run(PROMPTS[:1], [4], how=how)[0][0]
  for at in (0, 1):
    logps = candidates(parts, PROMPTS[0], one.tokens[:at], ALLOWED)
    scaled = np.where(logps >= np.sort(logps)[-5], logps / 0.7, -np.inf)
    wanted = scaled - np.logaddexp.reduce(scaled)
    place = ALLOWED.index(one.tokens[at])
    np.testing.assert_allclose(one.sampling_logps[at], wanted[place], atol=5e-5)
    np.testing.assert_allclose(one.logps[at], logps[place], atol=2e-5)


def test_a_group_of_n_equals_n_singles(run):
  group = run(PROMPTS[2:], [5], n=3)[0]
  for g, one in enumerate(group):
    again = run(PROMPTS[2:], [5], n=g + 1)[0][g]
    np.testing.assert_array_equal(one.tokens, again.tokens)
    np.testing.assert_allclose(one.logps, again.logps, atol=2e-5)
  assert len({tuple(one.tokens) for one in group}) == 3


def test_a_sample_depends_on_nothing_else_in_its_batch(run):
  batch = run(PROMPTS, [1, 2, 3], n=2, max_prompts=4)
  for q in range(3):
    alone = run(PROMPTS[q : q + 1], [q + 1], n=2)[0]
    for a, b in zip(batch[q], alone, strict=True):
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
    assert len(one.logps) == len(one.label_logps) == len(one.top_logps) == len(one.tokens) <= 200


def test_label_tokens_have_their_log_probability_at_every_step(parts, run):
  one = run(PROMPTS[:1], [0])[0][0]
  for w, token in enumerate(LABELS):
    tokens = np.append(one.tokens[:3], token).astype(np.int32)
    np.testing.assert_allclose(
      one.label_logps[3, w], forward(parts, PROMPTS[0], tokens)[-1], atol=2e-5
    )


def test_weights_are_an_argument(parts, run):
  doubled = jax.tree.map(lambda x: 2 * x, parts[1])
  one = run(PROMPTS[:1], [1], params=doubled)[0][0]
  assert not np.array_equal(one.logps, run(PROMPTS[:1], [1])[0][0].logps)


@pytest.mark.parametrize("max_prompts", [3, 8, pytest.param(64, marks=pytest.mark.slow)])
def test_a_sample_is_the_same_bit_for_bit_whatever_decodes_beside_it(run, max_prompts):
  prompts, seeds = PROMPTS * 4, range(12)
  go = functools.partial(run, n=4, max_prompts=max_prompts, limits={"max_group": 2})
  wanted = go(prompts, seeds)
  for order in ([5, 3, 11, 1, 0, 9, 2, 4, 8, 10, 7, 6], [4], [2, 0, 7]):
    found = go([prompts[i] for i in order], [seeds[i] for i in order])
    for i, group in zip(order, found, strict=True):
      for a, b in zip(wanted[i], group, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.logps, b.logps)


@pytest.mark.parametrize(("extra_prompts", "chunks"), [(0.0, 12), (0.5, 9), (3.0, 7)])
def test_a_free_decode_slot_takes_the_next_sample_of_any_prompt(parts, extra_prompts, chunks):
  """8 prompts, each with a sample of three chunks and three samples of one token; 8 decode slots.

  With a prompt slot for each prompt the 48 chunks of all samples fill the decode slots until the
  last three; with two prompt slots each pair of prompts takes three chunks.
  """
  graphdef, params = parts
  limits = Limits(decode_chunk=4, extra_prompts=extra_prompts)
  made = make_engine(graphdef, stop=(), max_prompts=2, limits=limits)
  counted, decode_chunk = [], made.programs.decode_chunk

  def counting(*args, **how):
    counted.append(args[3].active_B.sum())
    return decode_chunk(*args, **how)

  made.programs = made.programs._replace(decode_chunk=counting)
  limits = np.array([[12, 1, 1, 1]] * 8)
  out = made(params, PROMPTS[:1] * 8, range(8), n=4, sampling=WARM, token_limits=limits)
  assert len(counted) == chunks and sum(counted) == 8 * (3 + 3)
  assert [[len(one.tokens) for one in group] for group in out] == limits.tolist()


@pytest.mark.slow
def test_the_number_of_slots_does_not_change_the_samples(run):
  prompts, seeds = PROMPTS * 2, range(6)
  wanted = run(prompts, seeds, n=4, max_prompts=6)
  for max_prompts, max_group, extra_prompts in ((1, 4, 0), (2, 1, 0.5), (4, 3, 0.5), (2, 4, 2)):
    limits = dict(max_group=max_group, extra_prompts=extra_prompts)
    found = run(prompts, seeds, n=4, max_prompts=max_prompts, limits=limits)
    for a, b in zip(sum(wanted, []), sum(found, []), strict=True):
      np.testing.assert_array_equal(a.tokens, b.tokens)
      np.testing.assert_allclose(a.logps, b.logps, atol=2e-5)


@pytest.mark.parametrize(
  ("max_prompts", "extra_prompts"),
  [(4, 0.5), pytest.param(3, 0.5, marks=pytest.mark.slow), (4, 0.0)],
)
def test_slots_sharded_over_devices_give_the_samples_of_one_device(
  parts, run, max_prompts, extra_prompts
):
  """Four shards of eight decode slots and of eight prompt slots; six slots cannot be sharded."""
  graphdef, params = parts
  prompts, seeds = PROMPTS * 2, range(6)
  limits = np.random.default_rng(0).integers(1, 13, (6, 3))
  asked = dict(n=3, max_prompts=max_prompts, token_limits=limits)
  wanted = run(prompts, seeds, limits={"max_group": 2}, **asked)
  mesh = sharding.make_mesh({"data": 4, "tensor": 2})
  rules = {"batch": "data", "heads": "tensor", "kv_heads": "tensor", "mlp": "tensor"}
  made = make_engine(
    graphdef,
    max_prompts=max_prompts,
    limits=Limits(max_group=2, decode_chunk=4, extra_prompts=extra_prompts),
  )
  shared = jax.device_put(params, sharding.shardings_of(params, mesh, rules))
  with sharding.use(mesh, rules):
    found = made(shared, prompts, seeds, n=3, sampling=WARM, token_limits=limits)
  for a, b in zip(sum(wanted, []), sum(found, []), strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_allclose(a.logps, b.logps, atol=2e-5)


def test_a_sample_ends_at_its_own_token_limit(run):
  limits = np.array([[1, 5, 9, 12], [12, 2, 3, 4], [6, 6, 6, 6]])
  whole = run(PROMPTS, [1, 2, 3], n=4, limits={"max_group": 2})
  cut = run(PROMPTS, [1, 2, 3], n=4, limits={"max_group": 2}, token_limits=limits)
  for samples, others, most in zip(whole, cut, limits, strict=True):
    for a, b, limit in zip(samples, others, most, strict=True):
      np.testing.assert_array_equal(a.tokens[:limit], b.tokens)
      assert b.finish == ("length" if len(a.tokens) > limit or a.finish == "length" else "stop")


def test_on_chunk_gets_every_chunk_and_may_end_a_sample(run):
  seen = {}

  def on_chunk(prompt, g, tokens, finish):
    seen.setdefault((prompt, g), []).append(tokens[:3])
    return ("cancelled", 3) if (prompt, g) == (1, 0) else None

  out = run(PROMPTS, [1, 2, 3], n=2, on_chunk=on_chunk)
  assert out[1][0].finish == "cancelled"
  assert len(out[1][0].tokens) == len(out[1][0].logps) == 3  # of a chunk
  assert all(len(parts) == -(-len(out[q][g].tokens) // 4) for (q, g), parts in seen.items())
  for (prompt, g), parts in seen.items():
    for part in parts:
      np.testing.assert_array_equal(part, out[prompt][g].tokens[: len(part)])
  assert out[1][1].finish != "cancelled"


def test_a_group_that_is_stopped_early_skips_its_other_samples(run):
  asked = []

  def stop_group(prompt, samples):
    asked.append((prompt, len(samples)))
    return prompt == 0 and len(samples) >= 2

  run.engine(max_group=2).report()
  out = run(PROMPTS, [1, 2, 3], n=6, limits={"max_group": 2}, stop_group=stop_group)
  stats = run.engine(max_group=2).report()
  assert stats.skipped == sum(one is None for one in out[0])
  assert stats.samples + stats.skipped == 18 and stats.metrics()["sampler/spared"] > 0
  assert 2 <= sum(one is not None for one in out[0]) < 6
  assert all(one is not None for group in out[1:] for one in group)
  assert (1, 5) in asked


def test_a_group_that_is_stopped_skips_samples_that_end_in_the_same_chunk(run):
  limits = np.full((3, 6), 2)
  out = run(PROMPTS, [1, 2, 3], n=6, token_limits=limits, stop_group=lambda prompt, samples: True)
  assert [sum(one is not None for one in group) for group in out] == [1, 1, 1]


def test_progress_counts_every_prompt_once(run):
  counts = []
  run(PROMPTS * 3, range(9), n=2, max_prompts=2, progress=counts.append)
  assert sum(counts) == 9 and len(counts) > 1


def test_nothing_is_compiled_after_the_first_calls(run):
  prompts, seeds = PROMPTS * 3, range(9)
  run(prompts, seeds, n=3, limits={"max_group": 2})
  run.engine(max_group=2).report()
  run(prompts[::-1], seeds, n=3, limits={"max_group": 2})
  stats = run.engine(max_group=2).report()
  assert stats.programs == 0 and stats.prompts == 9
  metrics = stats.metrics()
  assert 0.3 < metrics["sampler/occupancy"] <= 1 and 0 < metrics["sampler/padding"] < 1
  assert stats.prompt_tokens == 3 * sum(len(p.tokens) for p in PROMPTS)


def test_kv_memory_limits_the_slots_and_the_samples_stay_the_same(run):
  wanted = run(PROMPTS, [1, 2, 3], n=2)
  one = POSITION * (2 * 32 + 2 * (8 + 4))  # for one prompt, and for one in a prefill
  found = run(PROMPTS, [1, 2, 3], n=2, limits={"kv_memory": one})
  for a, b in zip(sum(wanted, []), sum(found, []), strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)
  with pytest.raises(ValueError, match=rf"{PROMPTS[2].id!r}.*{one:,} bytes.*kv_memory"):
    run(PROMPTS[2:], [1], n=2, limits={"kv_memory": one - 1})


def test_the_arrays_given_to_a_program_do_not_change_afterwards(parts):
  """Devices may still read them when the host updates its slots."""
  made = make_engine(parts[0], stop=(), max_prompts=1, limits=Limits(decode_chunk=4))
  given, decode_chunk = [], made.programs.decode_chunk

  def recording(params, cache, *slots, **how):
    given.append((slots, jax.tree.map(np.copy, slots)))
    return decode_chunk(params, cache, *slots, **how)

  made.programs = made.programs._replace(decode_chunk=recording)
  made(parts[1], PROMPTS[:1] * 3, range(3), n=2, sampling=WARM)
  assert len(given) == 9
  jax.tree.map(np.testing.assert_array_equal, *zip(*given, strict=True))


def test_the_kv_cache_of_a_bucket_is_freed_before_the_next_bucket(parts):
  made, caches = make_engine(parts[0], max_prompts=3, limits=Limits(decode_chunk=4)), []
  compiled = made.programs

  def prefill(params, batch):
    assert all(x() is None for length, x in caches if length != batch.tokens.shape[1])
    return compiled.prefill(params, batch)

  def decode_chunk(params, cache, prompt_slots, *slots, **how):
    out = compiled.decode_chunk(params, cache, prompt_slots, *slots, **how)
    length = prompt_slots.mask_RS.shape[1]
    caches.extend((length, weakref.ref(x)) for x in jax.tree.leaves(out[0]))
    return out

  made.programs = compiled._replace(prefill=prefill, decode_chunk=decode_chunk)
  made(parts[1], PROMPTS, [1, 2, 3], n=2, sampling=WARM)
  assert len({length for length, _ in caches}) == 2


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_sampled(run):
  short = POSITION * (2 * 16 + 2 * (8 + 4))
  run.engine(kv_memory=short).report()
  with pytest.raises(ValueError, match=PROMPTS[2].id):
    run(PROMPTS, [1, 2, 3], n=2, limits={"kv_memory": short})  # the first two would fit
  assert run.engine(kv_memory=short).report().prompts == 0


def test_a_capacity_is_logged_once(run, caplog):
  memory = POSITION * (2 * 32 + 2 * (8 + 4))
  with caplog.at_level("INFO"):
    run.engine(kv_memory=memory)._logged.clear()
    for _ in range(2):
      run(PROMPTS[2:], [1], n=2, limits={"kv_memory": memory})
  logged = [r.getMessage() for r in caplog.records if "KV cache" in r.getMessage()]
  size = f"{memory / 1e6:,.1f}"
  assert logged == [
    f"sampler: 1 prompt slots of 32 tokens, 2 decode slots of 12 tokens, contexts of 44; "
    f"KV cache {size} of {size} MB, longest prompt that fits: 32 tokens"
  ]


def test_an_engine_refuses_a_second_call_while_it_samples(run, parts):
  """From another thread, or from within a callback."""
  made, errors = run.engine(), []
  call = functools.partial(made, parts[1], PROMPTS[:1], [1], n=1, sampling=WARM)

  def intrude(*_):
    with pytest.raises(RuntimeError, match="already sampling") as caught:
      call()
    errors.append(caught.value)

  def on_chunk(*_):
    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    intrude()

  made.report()
  out = call(on_chunk=on_chunk)
  assert len(errors) >= 2 and made.report().samples == 1
  for a, b in zip(sum(out, []), sum(call(), []), strict=True):  # and the engine goes on
    np.testing.assert_array_equal(a.tokens, b.tokens)


def test_an_engine_can_be_called_again_after_an_error(run, parts):
  def broken(*_):
    raise KeyError("broken")

  with pytest.raises(KeyError, match="broken"):
    run(PROMPTS[:1], [1], on_chunk=broken)
  assert run(PROMPTS[:1], [1])[0][0] is not None
