"""What the engine samples is what the model says."""

import dataclasses
import functools
import weakref

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from cot_rm.sampler import engine, sampling
from cot_rm.sampler import limits as limits_lib
from tests import chats

BUCKETS = packing.Buckets(tokens=(16, 32, 64), patches=(16, 48), answers=())
PROMPTS = [chats.encoded(0, 9, (4,)), chats.encoded(1, 7), chats.encoded(2, 20, (2, 5))]
POSITION = 4 * qwen2_5_vl.PRESETS["tiny"].kv_numbers_per_token  # bytes, in float32
STOP, BANNED = (7,), (3, 4, 5, 6)
WARM = sampling.Sampling(temperature=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def parts():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  return nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def run(parts):
  graphdef, params = parts

  @functools.cache
  def made(rows, together, memory, spare=0.5):
    return engine.Engine(
      graphdef,
      stop_ids=STOP,
      banned_ids=BANNED,
      watched_ids=(9, 10),
      buckets=BUCKETS,
      batch=functools.partial(packing.prompts, buckets=BUCKETS),
      rows=rows,
      position_bytes=POSITION,
      room=limits_lib.Room(together=together, chunk=4, memory=memory, spare=spare),
    )

  def go(
    prompts, seeds, *, n=1, how=WARM, rows=3, together=0, memory=0, spare=0.5, params=params, **more
  ):
    made_so = made(rows, together, memory, spare)
    return made_so(params, prompts, seeds, n=n, sampling=how, **more)

  go.engine = made
  return go


def forward(parts, prompt, tokens):
  """Log-probabilities of the tokens by one forward pass over prompt and answer."""
  batch = packing.pack([[packing.Item(prompt, tokens)]], BUCKETS, rows=1)
  logps_BT = logprobs.make_batch_logps(parts[0])(parts[1], batch)
  return np.asarray(logps_BT)[0, len(prompt.tokens) : len(prompt.tokens) + len(tokens)]


def test_cached_decode_equals_the_full_forward_token_by_token(parts, run):
  for prompt, group in zip(PROMPTS, run(PROMPTS, [1, 2, 3], n=2, rows=4), strict=True):
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
  greedy = run(PROMPTS[:1], [0], how=sampling.Sampling(max_tokens=6))[0][0]
  for at in (0, 1):  # one from the prefill, one from the cache
    logps = candidates(parts, PROMPTS[0], greedy.tokens[:at], ALLOWED)
    assert ALLOWED[int(logps.argmax())] == greedy.tokens[at]


def test_what_was_drawn_from_is_the_model_as_temperature_and_top_k_change_it(parts, run):
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
    assert len(one.logps) == len(one.label_logps) == len(one.tokens) <= 200


def test_watched_tokens_have_their_log_probability_at_every_step(parts, run):
  one = run(PROMPTS[:1], [0])[0][0]
  for w, token in enumerate((9, 10)):
    tokens = np.append(one.tokens[:3], token).astype(np.int32)
    np.testing.assert_allclose(
      one.label_logps[3, w], forward(parts, PROMPTS[0], tokens)[-1], atol=2e-5
    )


def test_weights_are_an_argument(parts, run):
  doubled = jax.tree.map(lambda x: 2 * x, parts[1])
  one = run(PROMPTS[:1], [1], params=doubled)[0][0]
  assert not np.array_equal(one.logps, run(PROMPTS[:1], [1])[0][0].logps)


@pytest.mark.parametrize("rows", [3, 8, pytest.param(64, marks=pytest.mark.slow)])
def test_a_sample_is_the_same_bit_for_bit_whoever_sits_beside(run, rows):
  prompts, seeds = PROMPTS * 4, range(12)
  go = functools.partial(run, n=4, rows=rows, together=2)
  wanted = go(prompts, seeds)
  for order in ([5, 3, 11, 1, 0, 9, 2, 4, 8, 10, 7, 6], [4], [2, 0, 7]):
    found = go([prompts[i] for i in order], [seeds[i] for i in order])
    for i, group in zip(order, found, strict=True):
      for a, b in zip(wanted[i], group, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.logps, b.logps)


@pytest.mark.parametrize(("spare", "chunks"), [(0.0, 12), (0.5, 9), (3.0, 7)])
def test_a_slot_that_is_free_takes_the_next_sample_whosever_it_is(parts, spare, chunks):
  """8 prompts of a sample of three chunks and three of a token, 8 slots.

  With as many seats as prompts the 48 chunks of all samples fill the slots until the last three;
  with two seats a pair of prompts takes three, whatever the slots do.
  """
  graphdef, params = parts
  made = engine.Engine(
    graphdef,
    stop_ids=(),
    banned_ids=BANNED,
    buckets=BUCKETS,
    batch=functools.partial(packing.prompts, buckets=BUCKETS),
    rows=2,
    room=limits_lib.Room(chunk=4, spare=spare),
  )
  counted, write = [], made._write
  made._write = lambda *args, **how: (counted.append(args[3].live_B.sum()), write(*args, **how))[1]
  limits = np.array([[12, 1, 1, 1]] * 8)
  out = made(params, PROMPTS[:1] * 8, range(8), n=4, sampling=WARM, limits=limits)
  assert len(counted) == chunks and sum(counted) == 8 * (3 + 3)
  assert [[len(one.tokens) for one in group] for group in out] == limits.tolist()


@pytest.mark.slow
def test_however_many_seats_and_slots_there_are_the_samples_are_the_same(run):
  prompts, seeds = PROMPTS * 2, range(6)
  wanted = run(prompts, seeds, n=4, rows=6)
  for rows, together, spare in ((1, 4, 0), (2, 1, 0.5), (4, 3, 0.5), (2, 4, 2)):
    found = run(prompts, seeds, n=4, rows=rows, together=together, spare=spare)
    for a, b in zip(sum(wanted, []), sum(found, []), strict=True):
      np.testing.assert_array_equal(a.tokens, b.tokens)
      np.testing.assert_allclose(a.logps, b.logps, atol=2e-5)


@pytest.mark.parametrize(("rows", "spare"), [(4, 0.5), (3, 0.5), (4, 0.0)])
def test_devices_that_share_the_rows_say_what_one_alone_does(parts, run, rows, spare):
  """Four shares of eight slots and of eight seats; of six slots none can be made."""
  graphdef, params = parts
  prompts, seeds = PROMPTS * 2, range(6)
  limits = np.random.default_rng(0).integers(1, 13, (6, 3))
  asked = dict(n=3, rows=rows, together=2, limits=limits)
  wanted = run(prompts, seeds, **asked)
  mesh = sharding.make_mesh({"data": 4, "tensor": 2})
  rules = {"batch": "data", "heads": "tensor", "kv_heads": "tensor", "mlp": "tensor"}
  made = engine.Engine(
    graphdef,
    stop_ids=STOP,
    banned_ids=BANNED,
    buckets=BUCKETS,
    batch=functools.partial(packing.prompts, buckets=BUCKETS),
    rows=rows,
    room=limits_lib.Room(together=2, chunk=4, spare=spare),
  )
  shared = jax.device_put(params, sharding.shardings_of(params, mesh, rules))
  with sharding.use(mesh, rules):
    found = made(shared, prompts, seeds, n=3, sampling=WARM, limits=limits)
  for a, b in zip(sum(wanted, []), sum(found, []), strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_allclose(a.logps, b.logps, atol=2e-5)


def test_a_sample_ends_at_its_own_limit(run):
  limits = np.array([[1, 5, 9, 12], [12, 2, 3, 4], [6, 6, 6, 6]])
  whole = run(PROMPTS, [1, 2, 3], n=4, together=2)
  cut = run(PROMPTS, [1, 2, 3], n=4, together=2, limits=limits)
  for samples, others, most in zip(whole, cut, limits, strict=True):
    for a, b, limit in zip(samples, others, most, strict=True):
      np.testing.assert_array_equal(a.tokens[:limit], b.tokens)
      assert b.finish == ("length" if len(a.tokens) > limit or a.finish == "length" else "stop")


def test_who_watches_sees_every_chunk_and_may_end_a_sample(run):
  seen = {}

  def watch(place, g, tokens, finish):
    seen.setdefault((place, g), []).append(tokens[:3])
    return ("cancelled", 3) if (place, g) == (1, 0) else None

  out = run(PROMPTS, [1, 2, 3], n=2, watch=watch)
  assert out[1][0].finish == "cancelled"
  assert len(out[1][0].tokens) == len(out[1][0].logps) == 3  # of a chunk
  assert all(len(parts) == -(-len(out[q][g].tokens) // 4) for (q, g), parts in seen.items())
  for (place, g), parts in seen.items():
    for part in parts:
      np.testing.assert_array_equal(part, out[place][g].tokens[: len(part)])
  assert out[1][1].finish != "cancelled"


def test_when_it_is_enough_the_other_samples_of_a_prompt_are_left_out(run):
  asked = []

  def enough(place, samples):
    asked.append((place, len(samples)))
    return place == 0 and len(samples) >= 2

  run.engine(3, 2, 0, 0.5).report()
  out = run(PROMPTS, [1, 2, 3], n=6, together=2, enough=enough)
  told = run.engine(3, 2, 0, 0.5).report()
  assert told.spared == sum(one is None for one in out[0])
  assert told.samples + told.spared == 18 and told.metrics()["sampler/spared"] > 0
  assert 2 <= sum(one is not None for one in out[0]) < 6
  assert all(one is not None for group in out[1:] for one in group)
  assert (1, 5) in asked


def test_a_prompt_that_has_enough_ends_samples_that_end_in_the_same_chunk(run):
  out = run(PROMPTS, [1, 2, 3], n=6, limits=np.full((3, 6), 2), enough=lambda place, some: True)
  assert [sum(one is not None for one in group) for group in out] == [1, 1, 1]


def test_progress_counts_every_prompt_once(run):
  counts = []
  run(PROMPTS * 3, range(9), n=2, rows=2, progress=counts.append)
  assert sum(counts) == 9 and len(counts) > 1


def test_nothing_is_compiled_after_the_first_calls(run):
  prompts, seeds = PROMPTS * 3, range(9)
  run(prompts, seeds, n=3, together=2)
  run.engine(3, 2, 0, 0.5).report()
  run(prompts[::-1], seeds, n=3, together=2)
  told = run.engine(3, 2, 0, 0.5).report()
  assert told.programs == 0 and told.prompts == 9
  metrics = told.metrics()
  assert 0.3 < metrics["sampler/occupancy"] <= 1 and 0 < metrics["sampler/padding"] < 1
  assert told.prompt_tokens == 3 * sum(len(p.tokens) for p in PROMPTS)


def test_the_memory_says_how_many_sit_and_the_samples_stay_the_same(run):
  wanted = run(PROMPTS, [1, 2, 3], n=2)
  seat = POSITION * (2 * 32 + 2 * (8 + 4))  # a row; as many prompts are read beside
  found = run(PROMPTS, [1, 2, 3], n=2, memory=seat)
  for a, b in zip(sum(wanted, []), sum(found, []), strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)
  with pytest.raises(ValueError, match=rf"{PROMPTS[2].id!r}.*{seat:,} bytes.*sampler.memory"):
    run(PROMPTS[2:], [1], n=2, memory=seat - 1)


def test_what_a_program_was_given_stays_as_it_was(parts):
  """Devices may still read it when the host notes what has become of the slots."""
  made = engine.Engine(
    parts[0],
    stop_ids=(),
    banned_ids=BANNED,
    buckets=BUCKETS,
    batch=functools.partial(packing.prompts, buckets=BUCKETS),
    rows=1,
    room=limits_lib.Room(chunk=4),
  )
  given, write = [], made._write

  def noted(params, memory, *at, **how):
    given.append((at, jax.tree.map(np.copy, at)))
    return write(params, memory, *at, **how)

  made._write = noted
  made(parts[1], PROMPTS[:1] * 3, range(3), n=2, sampling=WARM)
  assert len(given) == 9
  jax.tree.map(np.testing.assert_array_equal, *zip(*given, strict=True))


def test_prompts_of_one_length_give_up_their_memory_before_those_of_the_next(run):
  made, kept = run.engine(3, 0, 0, 0.5), []
  read, write = made._read, made._write

  def reading(params, batch):
    assert all(x() is None for length, x in kept if length != batch.tokens.shape[1])
    return read(params, batch)

  def writing(params, memory, seats, *at, **how):
    out = write(params, memory, seats, *at, **how)
    kept.extend((seats.mask_RS.shape[1], weakref.ref(x)) for x in jax.tree.leaves(out[0]))
    return out

  made._read, made._write = reading, writing
  try:
    run(PROMPTS, [1, 2, 3], n=2)
  finally:
    made._read, made._write = read, write
  assert len({length for length, _ in kept}) == 2


def test_what_cannot_fit_is_refused_before_anything_is_sampled(run):
  short = POSITION * (2 * 16 + 2 * (8 + 4))
  run.engine(3, 0, short, 0.5).report()
  with pytest.raises(ValueError, match=PROMPTS[2].id):
    run(PROMPTS, [1, 2, 3], n=2, memory=short)  # the first two could be answered
  assert run.engine(3, 0, short, 0.5).report().prompts == 0


def test_what_a_shape_takes_is_said_once(run, caplog):
  memory = POSITION * (2 * 32 + 2 * (8 + 4))
  with caplog.at_level("INFO"):
    run.engine(3, 0, memory, 0.5)._told.clear()
    for _ in range(2):
      run(PROMPTS[2:], [1], n=2, memory=memory)
  said = [r.getMessage() for r in caplog.records if "keys and values" in r.getMessage()]
  size = f"{memory / 1e6:,.1f}"
  assert said == [
    f"sampler: 1 prompts of 32 tokens and 2 answers of 12 at a time, contexts of 44: {size} of "
    f"{size} MB of keys and values, room for one prompt of up to 32 at a time"
  ]
