"""Two thousand requests of random shape, many of them cancelled: nothing is lost, nothing leaks."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm.data import packing
from cot_rm.models import qwen2_5_vl
from cot_rm.sampler import engine, sampling
from cot_rm.sampler.limits import Limits
from tests import chats

BUCKETS = packing.Buckets(tokens=(16, 32), patches=(16,), answers=())
HOW = sampling.Sampling(temperature=1.0, max_tokens=12)
CALLS, REQUESTS = 100, 20


@pytest.mark.slow
def test_two_thousand_requests_are_answered_once_each_and_leave_nothing_behind():
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
  graphdef, params = nnx.split(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  served = engine.Engine(
    graphdef,
    sampling.TokenIds((7,), (3, 4, 5, 6)),
    buckets=BUCKETS,
    pack=functools.partial(packing.prompts, buckets=BUCKETS),
    max_prompts=4,
    limits=Limits(max_group=3, decode_chunk=4),
  )
  rng = np.random.default_rng(0)

  def call():
    """Checks one call: its results, its progress and its cancelled requests."""
    n = int(rng.integers(1, 4))
    prompts = [
      chats.encoded(int(rng.integers(1 << 30)), int(rng.integers(6, 30)), (4,) * rng.integers(2))
      for _ in range(REQUESTS)
    ]
    limits = rng.integers(1, HOW.max_tokens + 1, (REQUESTS, n))
    # In the first chunk or later, if the sample gets so far.
    cancelled = {at: rng.integers(1, 9) for at in np.flatnonzero(rng.random(REQUESTS) < 0.2)}
    stopped = set(np.flatnonzero(rng.random(REQUESTS) < 0.1).tolist())
    counts = []

    def ends(prompt, tokens):
      return prompt in cancelled and len(tokens) >= cancelled[prompt]

    def on_chunk(prompt, g, tokens, finish):
      return ("cancelled", len(tokens)) if ends(prompt, tokens) else None

    out = served(
      params,
      prompts,
      list(range(REQUESTS)),
      n=n,
      sampling=HOW,
      token_limits=limits,
      on_chunk=on_chunk,
      stop_group=lambda prompt, samples: prompt in stopped,
      progress=counts.append,
    )
    assert sum(counts) == REQUESTS and len(out) == REQUESTS
    for at, (group, limit) in enumerate(zip(out, limits, strict=True)):
      assert len(group) == n
      made = [(one, most) for one, most in zip(group, limit, strict=True) if one is not None]
      assert len(made) == (1 if at in stopped else n)
      for one, most in made:
        assert 1 <= len(one.tokens) <= most
        assert (one.finish == "cancelled") == ends(at, one.tokens)

  for _ in range(12):
    call()
  served.report()
  arrays = len(jax.live_arrays())
  for _ in range(CALLS):
    call()
  stats = served.report()
  assert stats.programs == 0, "something was compiled again"
  assert stats.prompts == CALLS * REQUESTS
  assert len(jax.live_arrays()) == arrays, "arrays are left behind"
