"""The schedule, and which parameters move."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cot_rm import optim


def test_the_schedule_rises_stays_and_falls_to_its_end():
  rate = optim.schedule(lr=1.0, steps=100, warmup=10, decay=0.5, final=0.1)
  got = [float(rate(i)) for i in (0, 5, 10, 49, 75, 100)]
  np.testing.assert_allclose(got, [0, 0.5, 1, 1, 0.55, 0.1], atol=1e-6)


def moved(**knobs):
  params = {"visual": {"weight": jnp.ones(2)}, "norm": {"weight": jnp.ones(2)}}
  tx, _ = optim.make(lr=0.1, steps=10, warmup=1, **knobs)
  state = tx.init(params)
  for _ in range(2):
    updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    params = optax.apply_updates(params, updates)
  return {name: bool((leaf["weight"] != 1).all()) for name, leaf in params.items()}


def test_a_frozen_group_does_not_move():
  assert moved() == {"visual": True, "norm": True}
  assert moved(frozen=("visual",)) == {"visual": False, "norm": True}


def test_a_pattern_that_matches_nothing_is_an_error():
  with pytest.raises(ValueError, match="optim.frozen.*vision"):
    moved(frozen=("vision",))
