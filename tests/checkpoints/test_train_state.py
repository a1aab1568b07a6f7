"""Training states come back as saved, on any mesh, or say why not."""

import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cot_rm import sharding
from cot_rm.checkpoints import train_state
from tests.checkpoints.layout import RULES, assert_equal


class State(NamedTuple):
  step: jax.Array
  params: Any
  opt_state: Any


@pytest.fixture
def state(params):
  opt_state = optax.adamw(1e-3).init(params)
  return State(jnp.int32(3), params, jax.tree.map(lambda x: x + 1, opt_state))


def test_a_state_and_its_extra_come_back(state, tmp_path):
  extra = {"data": {"next": 5}, "seconds": 1.5}
  with train_state.TrainCheckpoints(tmp_path / "c", keep=2) as checkpoints:
    assert checkpoints.restore_latest(state) is None
    checkpoints.save(3, state, extra)
  with train_state.TrainCheckpoints(tmp_path / "c", keep=2) as checkpoints:
    like = jax.tree.map(jnp.zeros_like, state)
    step, found, extra_found = checkpoints.restore_latest(like)
  assert (step, extra_found) == (3, extra)
  assert isinstance(found, State)
  assert_equal(found, state)


def test_a_state_is_restored_on_another_mesh(state, mesh, tmp_path):
  like = jax.device_put(
    jax.tree.map(jnp.zeros_like, state), sharding.shardings_of(state, mesh, RULES)
  )
  with train_state.TrainCheckpoints(tmp_path / "c", keep=1) as checkpoints:
    checkpoints.save(3, state, {})
    _, found, _ = checkpoints.restore_latest(like)
  assert_equal(found, state)
  up = found.opt_state[0].mu["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert len(up.sharding.device_set) == 8
  assert up.addressable_shards[0].data.shape == (3, 48, 16)


def test_the_last_states_stay(tmp_path):
  with train_state.TrainCheckpoints(tmp_path / "c", keep=2) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, {"x": jnp.full(3, step)}, {"step": step})
    step, state, extra = checkpoints.restore_latest({"x": jnp.zeros(3, int)})
  assert (step, extra) == (3, {"step": 3})
  np.testing.assert_array_equal(state["x"], 3)
  assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "3"]


def test_an_interrupted_save_is_invisible(tmp_path):
  with train_state.TrainCheckpoints(tmp_path / "c", keep=2) as checkpoints:
    checkpoints.save(1, {"x": jnp.ones(3)}, {})
  # As a killed process leaves it: Orbax renames a folder once it is complete.
  shutil.copytree(tmp_path / "c" / "1", tmp_path / "c" / "2.orbax-checkpoint-tmp-1234")
  with train_state.TrainCheckpoints(tmp_path / "c", keep=2) as checkpoints:
    step, state, _ = checkpoints.restore_latest({"x": jnp.zeros(3)})
    assert step == 1
    checkpoints.save(2, {"x": jnp.full(3, 2.0)}, {})
    assert checkpoints.restore_latest({"x": jnp.zeros(3)})[0] == 2


def test_a_state_is_saved_as_it_was_at_the_call(tmp_path):
  """The save runs concurrently with a step that donates the state's memory."""
  step = jax.jit(lambda x: x + 1, donate_argnums=0)
  x = jnp.zeros(1 << 20)
  with train_state.TrainCheckpoints(tmp_path / "c", keep=1) as checkpoints:
    checkpoints.save(1, {"x": x}, {})
    for _ in range(5):
      x = step(x)
    _, state, _ = checkpoints.restore_latest({"x": jnp.ones(1 << 20)})
  np.testing.assert_array_equal(state["x"], 0)


def test_a_state_of_another_shape_is_named(tmp_path):
  with train_state.TrainCheckpoints(tmp_path / "c", keep=1) as checkpoints:
    checkpoints.save(1, {"x": jnp.ones(3), "y": jnp.ones(2)}, {})
    with pytest.raises(ValueError, match=r"step 1.*missing \(1\): z; .*misshapen \(1\): x \(3,\)"):
      checkpoints.restore_latest({"x": jnp.ones(4), "y": jnp.ones(2), "z": jnp.ones(1)})
