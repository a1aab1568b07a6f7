"""The schedule, and which parameters move."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cot_rm import optim
from tests import defaults


def test_the_schedule_rises_stays_and_falls_to_its_end():
  rate = optim.schedule(lr=1.0, steps=100, warmup=10, decay=0.5, final=0.1)
  got = [float(rate(i)) for i in (0, 5, 10, 49, 75, 100)]
  np.testing.assert_allclose(got, [0, 0.5, 1, 1, 0.55, 0.1], atol=1e-6)


def test_muon_moves_matrices_by_the_rms_it_says_and_the_rest_as_adamw_does():
  rng = np.random.default_rng(0)
  params = {
    "embed_tokens": {"weight": jnp.zeros((8, 4))},
    "norm": {"weight": jnp.zeros((2, 4))},  # of two layers
    "q_proj": {"weight": jnp.zeros((2, 12, 4)), "bias": jnp.zeros((2, 12))},
  }
  grads = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
  steps = {}
  for muon in (0.0, 2.0):
    tx, _ = defaults.optimizer(lr=1.0, steps=10, warmup=0, clip=1e9, muon=muon, frozen=())
    steps[muon], _ = tx.update(grads, tx.init(params), params)
  for name, part in steps[2.0].items():
    for kind, step in part.items():
      if (name, kind) != ("q_proj", "weight"):
        # Muon's AdamW looks ahead (Nesterov): the first step is the same but for its size.
        np.testing.assert_array_equal(np.sign(step), np.sign(steps[0.0][name][kind]))
  for step in np.asarray(steps[2.0]["q_proj"]["weight"]):  # each layer for itself
    # 0.2 sqrt(12) lr times a matrix whose singular values are near 1: five Newton-Schulz steps.
    values = np.linalg.svd(step)[1] / (2 * 0.2 * 12**0.5)
    assert (0.6 < values).all() and (values < 1.3).all()


def moved(**knobs):
  params = {"visual": {"weight": jnp.ones(2)}, "norm": {"weight": jnp.ones(2)}}
  tx, rate = defaults.optimizer(lr=0.1, steps=10, warmup=1, **({"frozen": ()} | knobs))
  state = tx.init(params)
  for i in range(2):
    updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    params = optax.apply_updates(params, optax.tree.scale(rate(i), updates))
  return {name: bool((leaf["weight"] != 1).all()) for name, leaf in params.items()}


def test_a_frozen_group_does_not_move():
  assert moved() == {"visual": True, "norm": True}
  assert moved(frozen=("visual",)) == {"visual": False, "norm": True}


def test_a_pattern_that_matches_nothing_is_an_error():
  with pytest.raises(ValueError, match="optim.frozen.*vision"):
    moved(frozen=("vision",))


def test_the_schedule_is_no_part_of_the_program():
  params = {"q_proj": {"weight": jnp.ones((4, 4))}, "norm": {"weight": jnp.ones(4)}}

  def program(**knobs):
    tx, _ = defaults.optimizer(muon=2.0, frozen=(), **knobs)
    return str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))

  assert program(lr=0.1, steps=10, warmup=1) == program(lr=0.3, steps=50, warmup=5, decay=0.2)
