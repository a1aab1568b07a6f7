"""The smallest run of configs/tiny_grpo.py, and a workdir whose world and SFT are done."""

import shutil
import zlib

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from configs import tiny_grpo
from cot_rm import rewards, sharding, stages
from cot_rm.checkpoints import model_folder

ROWS = 4  # of every program: stages that ask the same share one


def small():
  c = tiny_grpo.get_config("smoke")
  c.world.shapes.update(side=56, objects=(1, 1))
  c.world.sizes = dict(references=16, train=16, check=4, heldout=6)
  c.world.corpus = 100
  c.buckets.tokens, c.buckets.patches, c.buckets.answers = (128,), (72,), (8,)
  for knobs in (c.sft, c.control_sft):
    knobs.rows, knobs.eval_every, knobs.save_every = ROWS, 4, 2
    knobs.optim.update(lr=1e-3, warmup=1, muon=0.0)
  c.sft.steps = 4
  c.rl.optim.frozen = ("visual",)
  c.rl.rollouts, c.rl.prompts, c.rl.train_prompts, c.rl.group = 4, ROWS, ROWS, 2
  c.rl.eval_every, c.rl.save_every, c.rl.samples_every = 4, 2, 4
  c.rl.settings.grpo.kl = 0.04
  c.rl.sampling.max_tokens = c.eval.max_tokens = c.judge.max_tokens = 8
  c.reject.data, c.reject.max_prompts = "world/data", ROWS
  c.reject.sampling.max_tokens = 8
  c.eval.max_prompts = c.judge.max_prompts = ROWS
  c.eval.pairs, c.eval.blank_pairs, c.eval.val_pairs, c.eval.samples = 6, 2, 4, 2
  c.judge.start = "sft"
  return c


def on_one_device(patch):
  """The mesh of the config is one device's, and the tests have eight."""
  real = sharding.make_mesh
  patch.setattr(
    sharding, "make_mesh", lambda shape, devices=None: real(shape, devices or jax.devices()[:1])
  )


@pytest.fixture
def config(monkeypatch):
  on_one_device(monkeypatch)
  return small()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """A workdir after the stages world and sft. To read, not to write into."""
  workdir = epath.Path(tmp_path_factory.mktemp("trained"))
  with pytest.MonkeyPatch.context() as patch:
    on_one_device(patch)
    for name in ("world", "sft"):
      stages.get(name).run(small(), workdir, name)
  return workdir


@pytest.fixture
def workdir(trained, tmp_path):
  """A copy of `trained` to write into."""
  shutil.copytree(trained, tmp_path / "run")
  return epath.Path(tmp_path / "run")


@pytest.fixture
def parameters():
  """`(model folder) -> {path: array}`."""

  def read(folder):
    flat = nnx.to_flat_state(model_folder.load_model(folder).params)
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}

  return read


@pytest.fixture
def same(parameters):
  """Asserts that two model folders hold the same parameters, bit for bit."""

  def compare(one, other):
    a, b = parameters(one), parameters(other)
    assert a.keys() == b.keys()
    for name, value in a.items():
      np.testing.assert_array_equal(value, b[name], err_msg=name)

  return compare


def by_chance(completions, verdicts, examples, grammar, ask):
  """A reward that a random model gets half of the time."""
  return [float(zlib.crc32(completion.text.encode()) % 2) for completion in completions]


@pytest.fixture
def rewarded(monkeypatch):
  monkeypatch.setitem(rewards.REWARDS, "accuracy", by_chance)
