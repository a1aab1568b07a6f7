"""A fingerprint stays with its weights and with nothing else."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from cot_rm import sharding
from cot_rm.checkpoints import fingerprint
from cot_rm.models import qwen2_5_vl
from tests.models.qwen2_5_vl import oracle

FAMILY = "qwen2_5_vl"


@pytest.fixture(scope="module")
def params():
  return nnx.state(qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def mark(params):
  return fingerprint.compute(FAMILY, oracle.CONFIG, params)


def test_the_probe_is_a_prompt_that_a_processor_could_have_made():
  """Its windows, rows and M-RoPE positions are torch's for one picture of 4 x 4 patches."""
  batch = fingerprint.probe(oracle.CONFIG)
  model = oracle.make()
  wanted = oracle.prompt([8, ("image", (1, 4, 4)), 8], model=model).encoded
  for name in ("positions", "visual"):
    np.testing.assert_array_equal(getattr(batch, name)[0], getattr(wanted, name))
  for name in ("hw", "windows", "frames"):
    np.testing.assert_array_equal(getattr(batch.pictures, name)[0], getattr(wanted, name))
  special = np.asarray(batch.tokens)[0] < 7  # of this config: 3, 4, 5, 6
  np.testing.assert_array_equal(special[8:14], True)


@pytest.mark.parametrize(
  "part",
  [
    "embed_tokens",
    "layers.self_attn.k_proj",
    "layers.mlp.down_proj",
    "norm",
    "lm_head",
    "visual.blocks.attn.qkv",
    "visual.patch_embed",
    "visual.merger.fc2",
  ],
)
def test_a_change_anywhere_is_noticed(params, mark, part):
  names = part.split(".")

  def shuffled(path, x):
    hit = [getattr(k, "key", None) for k in path[: len(names)]] == names
    # A norm starts as ones, which no reordering changes.
    return x[..., ::-1] + 0.1 if hit else x

  changed = jax.tree_util.tree_map_with_path(shuffled, params)
  with pytest.raises(ValueError, match="model x: the fingerprint is off by .* not the weights"):
    fingerprint.check(
      fingerprint.compute(FAMILY, oracle.CONFIG, changed), mark, ("float32",), "model x"
    )


def test_other_dtypes_and_meshes_pass(params, mark):
  low = jax.tree.map(lambda x: x.astype("bfloat16"), params)
  found = fingerprint.compute(FAMILY, oracle.CONFIG, low)
  assert found != mark
  fingerprint.check(found, mark, ("float32", "bfloat16"), "model")
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  rules = {"embed": "fsdp", "vocab": "tensor", "heads": "tensor", "mlp": "tensor"}
  spread = jax.device_put(params, sharding.shardings_of(params, mesh, rules))
  fingerprint.check(fingerprint.compute(FAMILY, oracle.CONFIG, spread), mark, ("float32",), "model")


def test_nan_and_another_length_do_not_pass(mark):
  with pytest.raises(ValueError, match="off by nan"):
    fingerprint.check([np.nan, *mark[1:]], mark, ("bfloat16",), "model")
  with pytest.raises(ValueError, match="the recorded fingerprint has 21 log-probabilities"):
    fingerprint.check(mark[1:], mark, ("float32",), "model")


def test_the_released_vocabulary_has_a_probe_too():
  batch = fingerprint.probe(qwen2_5_vl.PRESETS["7b"])
  assert int((np.asarray(batch.tokens) == 151655).sum()) == 4
  assert np.asarray(batch.tokens).max() < qwen2_5_vl.PRESETS["7b"].vocab_size
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=8)
  assert np.asarray(fingerprint.probe(config).tokens).max() < 8


def test_log_probabilities_that_are_not_finite_name_the_layer(params):
  bad = jax.tree.map(lambda x: x, params)
  for name in ("up_proj", "down_proj"):
    weight = bad["layers"]["mlp"][name]["weight"]
    weight[...] = weight[...].at[1].multiply(1e30)
  with pytest.raises(ValueError, match=r"some/folder: the log-prob.*output of layer 1 of the dec"):
    fingerprint.compute("qwen2_5_vl", oracle.CONFIG, bad, source="some/folder")


def test_sixteen_bits_on_a_cpu_need_no_copy_of_all_layers_in_float32():
  """By the compiler's own figure of the memory beside the arguments."""
  config = dataclasses.replace(oracle.CONFIG, num_layers=24, intermediate_size=2048)
  graphdef, params = nnx.split(
    nnx.eval_shape(lambda: qwen2_5_vl.Model(config, rngs=nnx.Rngs(0), dtype="bfloat16"))
  )
  params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), params)
  size = sum(2 * x.size for x in jax.tree.leaves(params))
  needs = {}
  for keep_casts in (False, True):
    program = fingerprint._program(keep_casts).lower(graphdef, params, fingerprint.probe(config))
    needs[keep_casts] = program.compile().memory_analysis().temp_size_in_bytes
  assert needs[True] < size / 2
  if jax.__version_info__ < (0, 12):  # later compilers make no such copy by themselves
    assert needs[False] > 1.5 * size
