"""The vision tower against transformers' torch model."""

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from cot_rm.batch import Pictures
from cot_rm.models import qwen2_5_vl
from tests.models.qwen2_5_vl import oracle


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
  torch_model = oracle.make()
  model = qwen2_5_vl.Model(oracle.CONFIG, rngs=nnx.Rngs(0))
  nnx.update(model, oracle.port(torch_model, tmp_path_factory.mktemp("hf")))
  run = nnx.jit(lambda model, pictures: model.features(pictures))
  return torch_model, lambda pictures: np.asarray(run(model, pictures))


def inputs(grids, seed=0):
  rng = np.random.default_rng(seed)
  raw = rng.standard_normal((sum(map(np.prod, grids)), 1176)).astype(np.float32)
  picture, places = oracle.windowed(raw, grids, oracle.CONFIG)
  return raw, Pictures(**{k: x[None] for k, x in picture.items()}), places


@pytest.mark.parametrize(
  "grids", [[(1, 4, 4)], [(1, 6, 10)], [(1, 10, 6), (1, 4, 14), (1, 6, 6)], [(3, 6, 8)]], ids=str
)
def test_the_tower_agrees_with_torch(towers, grids):
  torch_model, run = towers
  raw, pictures, places = inputs(grids)
  with torch.no_grad():
    wanted = torch_model.model.visual(torch.tensor(raw), torch.tensor(grids)).pooler_output.numpy()
  np.testing.assert_allclose(run(pictures)[0, places], wanted, atol=1e-4, rtol=0)


def test_padding_patches_and_rows_change_nothing(towers):
  _, run = towers
  _, pictures, _ = inputs([(1, 6, 10)])
  alone = run(pictures)
  pad = lambda x: np.pad(x, [(1, 1), (0, 12)] + [(0, 0)] * (x.ndim - 2))
  padded = run(jax.tree.map(pad, pictures))
  np.testing.assert_allclose(padded[1, :15], alone[0], atol=1e-5, rtol=0)
  assert np.isfinite(padded).all()


def test_two_pictures_of_one_row_do_not_see_each_other(towers):
  _, run = towers
  raw, pictures, _ = inputs([(1, 4, 4), (1, 4, 6)])
  changed = np.array(pictures.patches)
  changed[:, 16:] += 1
  before = run(pictures)
  after = run(Pictures(changed, pictures.hw, pictures.windows, pictures.frames))
  np.testing.assert_array_equal(after[:, :4], before[:, :4])
  assert np.abs(after[:, 4:] - before[:, 4:]).min(-1).max() > 1e-3


def test_full_attention_sees_past_its_window(towers):
  """Without the blocks of full attention a patch would stay within its window."""
  _, run = towers
  _, pictures, _ = inputs([(1, 8, 8)])
  last = np.array(pictures.windows)[0] == pictures.windows.max()
  changed = np.array(pictures.patches)
  changed[0, last] += 1
  before = run(pictures)
  after = run(Pictures(changed, pictures.hw, pictures.windows, pictures.frames))
  assert np.abs(after[0, 0] - before[0, 0]).max() > 1e-4
