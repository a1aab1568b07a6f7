"""Model folders and training states: what is written comes back, on any mesh, or says why not."""

import json
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.checkpoints import model_folder
from cot_rm.models import qwen2_5_vl
from tests.models.qwen2_5_vl import oracle

RULES = {
  "embed": "fsdp",
  "vocab": "tensor",
  "heads": "tensor",
  "kv_heads": "tensor",
  "mlp": "tensor",
}


@pytest.fixture(scope="module")
def params():
  return nnx.state(qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def made(params, tmp_path_factory):
  files = tmp_path_factory.mktemp("files")
  (files / "tokenizer.json").write_text("{}")
  folder = tmp_path_factory.mktemp("made") / "model"
  model_folder.save_model(
    folder,
    params,
    family="qwen2_5_vl",
    config=oracle.CONFIG,
    processor_files=files,
    step=7,
    source="somewhere",
  )
  return folder


@pytest.fixture
def folder(made, tmp_path):
  """A copy to damage."""
  return shutil.copytree(made, tmp_path / "model")


@pytest.fixture(scope="module")
def mesh():
  return sharding.make_mesh({"fsdp": 4, "tensor": 2})


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def edit(file, **changes):
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_model_folder_comes_back_whole(made, params):
  opened = model_folder.open_model(made)
  assert (opened.family, opened.config) == ("qwen2_5_vl", oracle.CONFIG)
  assert_equal(opened.params, params)
  assert str(opened.folder) == str(made)
  assert (made / "tokenizer.json").exists()
  info = {key: opened.info[key] for key in ("family", "dtype", "step", "source")}
  assert info == {"family": "qwen2_5_vl", "dtype": "float32", "step": 7, "source": "somewhere"}
  axes = opened.params["layers"]["mlp"]["up_proj"]["weight"].get_metadata()["axes"]
  assert axes == ("layers", "mlp", "embed")


def test_it_opens_on_a_mesh_in_another_dtype(made, params, mesh):
  opened = model_folder.open_model(made, mesh=mesh, rules=RULES, dtype="bfloat16")
  up = opened.params["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert up.addressable_shards[0].data.shape == (3, 48, 16)
  assert_equal(opened.params, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))


@pytest.mark.slow
def test_bfloat16_saved_from_a_mesh_opens_on_one_device_bit_for_bit(
  params, mesh, made, tmp_path, monkeypatch
):
  monkeypatch.setattr(model_folder.fingerprint, "of", lambda *_: [0.0])
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
  low = jax.device_put(low, sharding.shardings_of(low, mesh, RULES))
  model_folder.save_model(
    tmp_path / "m", low, family="qwen2_5_vl", config=oracle.CONFIG, processor_files=made
  )
  opened = model_folder.open_model(tmp_path / "m")
  assert opened.info["dtype"] == "bfloat16"
  assert_equal(opened.params, low)


def test_a_hugging_face_folder_opens_too(tmp_path):
  wanted = oracle.port(oracle.make(), tmp_path)
  opened = model_folder.open_model(tmp_path)
  assert_equal(opened.params, wanted)
  assert opened.info == {}


def test_weights_that_were_changed_are_refused(folder):
  info = json.loads((folder / model_folder.INFO).read_text())
  edit(folder / model_folder.INFO, fingerprint=[x + 0.01 for x in info["fingerprint"]])
  with pytest.raises(ValueError, match="fingerprint is off by 0.01"):
    model_folder.open_model(folder)


def test_a_second_save_replaces_the_first(folder, params, made):
  doubled = jax.tree.map(lambda x: 2 * x, params)
  model_folder.save_model(
    folder, doubled, family="qwen2_5_vl", config=oracle.CONFIG, processor_files=made
  )
  assert_equal(model_folder.open_model(folder).params, doubled)


def test_a_folder_that_was_not_finished_says_so(folder):
  (folder / model_folder.INFO).unlink()
  with pytest.raises(FileNotFoundError, match="not written to its end"):
    model_folder.open_model(folder)


def test_missing_parameters_are_an_error(folder):
  shutil.rmtree(folder / model_folder.PARAMS)
  with pytest.raises(FileNotFoundError, match="params: missing"):
    model_folder.open_model(folder)


def test_parameters_that_do_not_fit_the_config_are_all_named(folder):
  edit(folder / model_folder.CONFIG, vocab_size=170, tie_word_embeddings=True)
  with pytest.raises(ValueError) as error:
    model_folder.open_model(folder)
  assert "unexpected (1): lm_head.weight" in str(error.value)
  assert "misshapen (1): embed_tokens.weight (160, 64), not (170, 64)" in str(error.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no folder .*gone"):
    model_folder.open_model(tmp_path / "gone")


class State(NamedTuple):
  step: jax.Array
  params: Any
  opt_state: Any


@pytest.fixture
def state(params):
  opt_state = optax.adamw(1e-3).init(params)
  return State(jnp.int32(3), params, jax.tree.map(lambda x: x + 1, opt_state))


def test_a_training_state_and_what_goes_with_it_come_back(state, tmp_path):
  extra = {"data": {"next": 5}, "seconds": 1.5}
  with model_folder.Checkpoints(tmp_path / "c", keep=2) as checkpoints:
    assert checkpoints.restore_latest(state) is None
    checkpoints.save(3, state, extra)
    checkpoints.wait()
  with model_folder.Checkpoints(tmp_path / "c", keep=2) as checkpoints:
    like = jax.tree.map(jnp.zeros_like, state)
    step, found, told = checkpoints.restore_latest(like)
  assert (step, told) == (3, extra)
  assert isinstance(found, State)
  assert_equal(found, state)


def test_it_goes_on_on_another_mesh(state, mesh, tmp_path):
  like = jax.device_put(
    jax.tree.map(jnp.zeros_like, state), sharding.shardings_of(state, mesh, RULES)
  )
  with model_folder.Checkpoints(tmp_path / "c", keep=1) as checkpoints:
    checkpoints.save(3, state, {})
    checkpoints.wait()
    _, found, _ = checkpoints.restore_latest(like)
  assert_equal(found, state)
  up = found.opt_state[0].mu["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert len(up.sharding.device_set) == 8
  assert up.addressable_shards[0].data.shape == (3, 48, 16)


def test_the_last_ones_stay(tmp_path):
  with model_folder.Checkpoints(tmp_path / "c", keep=2) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, {"x": jnp.full(3, step)}, {"step": step})
    checkpoints.wait()
    step, state, extra = checkpoints.restore_latest({"x": jnp.zeros(3, int)})
  assert (step, extra) == (3, {"step": 3})
  np.testing.assert_array_equal(state["x"], 3)
  assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["2", "3"]


def test_an_interrupted_save_is_as_if_it_had_not_been(tmp_path):
  with model_folder.Checkpoints(tmp_path / "c", keep=2) as checkpoints:
    checkpoints.save(1, {"x": jnp.ones(3)}, {})
    checkpoints.wait()
  # What a process that was killed leaves: Orbax renames a folder when all is in it.
  shutil.copytree(tmp_path / "c" / "1", tmp_path / "c" / "2.orbax-checkpoint-tmp-1234")
  with model_folder.Checkpoints(tmp_path / "c", keep=2) as checkpoints:
    step, state, _ = checkpoints.restore_latest({"x": jnp.zeros(3)})
    assert step == 1
    checkpoints.save(2, {"x": jnp.full(3, 2.0)}, {})
    checkpoints.wait()
    assert checkpoints.restore_latest({"x": jnp.zeros(3)})[0] == 2


def test_a_state_is_saved_as_it_was_when_asked(tmp_path):
  """The save runs beside a step that gives up the state's memory."""
  step = jax.jit(lambda x: x + 1, donate_argnums=0)
  x = jnp.zeros(1 << 20)
  with model_folder.Checkpoints(tmp_path / "c", keep=1) as checkpoints:
    checkpoints.save(1, {"x": x}, {})
    for _ in range(5):
      x = step(x)
    checkpoints.wait()
    _, state, _ = checkpoints.restore_latest({"x": jnp.ones(1 << 20)})
  np.testing.assert_array_equal(state["x"], 0)


def test_a_state_of_another_shape_is_named(tmp_path):
  with model_folder.Checkpoints(tmp_path / "c", keep=1) as checkpoints:
    checkpoints.save(1, {"x": jnp.ones(3), "y": jnp.ones(2)}, {})
    checkpoints.wait()
    with pytest.raises(ValueError, match=r"step 1.*missing \(1\): z; .*misshapen \(1\): x \(3,\)"):
      checkpoints.restore_latest({"x": jnp.ones(4), "y": jnp.ones(2), "z": jnp.ones(1)})
