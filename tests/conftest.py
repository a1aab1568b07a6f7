"""Every test runs on 8 fake CPU devices, from a bare clone or from an install."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
  ).strip()
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a network
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")  # broadcasting is written out
jax.config.update("jax_default_matmul_precision", "highest")
# The programs are tiny: compiling them is what takes the time.
jax.config.update("jax_disable_most_optimizations", True)
# Compiled programs of this run; COT_RM_TEST_CACHE names a folder that keeps them between runs.
if not (COMPILED := os.environ.get("COT_RM_TEST_CACHE")):
  COMPILED = tempfile.mkdtemp()
  atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_addoption(parser):
  parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config, items):
  slow = config.getoption("--slow") or os.environ.get("CI") == "true"
  for item in items:
    if item.get_closest_marker("slow") and not slow:
      item.add_marker(pytest.mark.skip(reason="slow: run with --slow, or set CI=true"))
    if item.get_closest_marker("tpu") and os.environ["JAX_PLATFORMS"] != "tpu":
      item.add_marker(pytest.mark.skip(reason="needs a TPU: run with JAX_PLATFORMS=tpu"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
  """A model folder as the world stage writes one: random weights, the world's own tokenizer."""
  import dataclasses

  from flax import nnx

  from cot_rm.checkpoints import model_folder
  from cot_rm.models import qwen2_5_vl
  from cot_rm.toy_world import tokenizer
  from cot_rm.toy_world import world as toy_world

  root, world = tmp_path_factory.mktemp("tiny"), toy_world.World()
  ids = tokenizer.train(
    toy_world.corpus(world, 300),
    root / "tokenizer",
    vocab_size=512,
    phrases=toy_world.phrases(world),
  )
  config = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], **ids)
  params = nnx.state(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  model_folder.save_model(
    root / "model", params, family="qwen2_5_vl", config=config, processor_files=root / "tokenizer"
  )
  return root / "model"
