"""Names and shapes of pytrees as Orbax stores them, and arrays written and read in parts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from cot_rm.checkpoints import orbax_io, parameter_arrays


class State(NamedTuple):
  step: np.ndarray
  params: dict


def test_a_name_is_the_path_of_an_array_without_its_variable():
  state = State(jnp.zeros(()), {"mlp": {"weight": nnx.Param(jnp.ones(2))}})
  assert orbax_io.by_name(state).keys() == {"step", "params.mlp.weight"}


def test_every_parameter_that_does_not_fit_is_named():
  stored = {"a": (1,), "b": (2,), "c": (3,)}
  orbax_io.check_shapes("x", stored, dict(stored))
  with pytest.raises(ValueError) as error:
    orbax_io.check_shapes("folder x", stored, {"a": (1,), "b": (4,), "d": (5,)})
  assert str(error.value) == (
    "folder x: missing (1): d; unexpected (1): c; misshapen (1): b (2,), not (4,)"
  )


def test_a_relative_folder_becomes_absolute_and_a_bucket_stays(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert str(orbax_io.absolute("a")) == str(tmp_path / "a")
  assert str(orbax_io.absolute("gs://bucket/a")) == "gs://bucket/a"


@pytest.fixture
def written(tmp_path, monkeypatch):
  """(a folder whose arrays have many chunks, the arrays)."""
  monkeypatch.setattr(orbax_io, "CHUNK_BYTES", 256)
  monkeypatch.setattr(orbax_io, "FILE_BYTES", 1024)
  rng = np.random.default_rng(0)
  shapes = {"layers.a.weight": (3, 24, 16), "b": (7,), "zero": (5, 2)}
  arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
  arrays["zero"][:] = 0  # chunks of zeros are not in the files
  orbax_io.save(tmp_path / "params", {name: jnp.asarray(x) for name, x in arrays.items()})
  return tmp_path / "params", arrays


def read(folder, arrays, dtype, places):
  return orbax_io.read(folder, {n: x.shape for n, x in arrays.items()}, jnp.dtype(dtype), places)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("axes", [(), ("x", "y"), (None, "x"), (None, "y", "x")])
def test_arrays_read_in_chunks_are_those_that_were_written(written, dtype, axes):
  folder, arrays = written
  mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4])
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  divided = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, *axes[1:]))
  places = dict.fromkeys(arrays, whole) | {"layers.a.weight": divided}
  found = read(folder, arrays, dtype, places)
  for name, x in arrays.items():
    assert found[name].sharding == places[name] and found[name].dtype == dtype
    np.testing.assert_array_equal(found[name], jnp.asarray(x, dtype))


def test_what_is_written_is_a_checkpoint_that_orbax_restores(written):
  folder, arrays = written
  with ocp.StandardCheckpointer() as checkpointer:
    restored = checkpointer.restore(folder, jax.tree.map(jnp.zeros_like, arrays))
  jax.tree.map(np.testing.assert_array_equal, restored, arrays)
  assert len([f for f in (folder / "ocdbt.process_0/d").iterdir()]) > 3


def test_an_array_is_read_into_the_memory_in_which_it_stays(written, monkeypatch):
  folder, arrays = written
  buffers = []

  def empty(*args):
    buffers.append(parameter_arrays_empty(*args))
    return buffers[-1]

  parameter_arrays_empty = parameter_arrays.empty
  monkeypatch.setattr(parameter_arrays, "empty", empty)
  one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  found = read(folder, arrays, "float32", dict.fromkeys(arrays, one))
  assert [x.unsafe_buffer_pointer() for x in found.values()] == [b.ctypes.data for b in buffers]


def test_a_large_array_is_written_alone(monkeypatch, tmp_path):
  handlers, make = [], ocp.PyTreeCheckpointHandler

  def recorded(**knobs):
    handlers.append(knobs)
    return make(**knobs)

  monkeypatch.setattr(ocp, "PyTreeCheckpointHandler", recorded)
  orbax_io.save(tmp_path / "params", {"large": jnp.ones((64, 64)), "other": jnp.ones((64, 63))})
  assert 64 * 64 * 4 < handlers[0]["save_concurrent_gb"] * 1e9 < 64 * 65 * 4
