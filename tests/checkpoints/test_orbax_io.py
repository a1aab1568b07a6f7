"""Names and shapes of pytrees as Orbax stores them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cot_rm.checkpoints import orbax_io


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
