"""Resharding and conversion of the trainer's weights for the sampler."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from jax._src.interpreters import pxla

from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from cot_rm.sampler import weight_sync
from tests import chats

CONFIG = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
RULES = {"mlp": "tensor", "heads": "tensor", "vocab": "tensor"}


@pytest.fixture(scope="module")
def model():
  return nnx.split(qwen2_5_vl.Model(CONFIG, rngs=nnx.Rngs(0)))


def mesh(count):
  return sharding.make_mesh({"tensor": count}, jax.devices()[:count])


def logps(graphdef, params):
  prompt = chats.encoded(0, 20, (4,))
  batch = packing.pack(
    [[packing.Item(prompt, np.arange(20, 40, dtype=np.int32))]],
    packing.Buckets(tokens=(64,), patches=(16,), answers=()),
    rows=1,
  )
  return np.asarray(logprobs.make_batch_logps(graphdef)(params, batch))[0, 1:40]


def test_arrays_that_are_as_wanted_are_not_copied(model):
  move = weight_sync.WeightSync("", mesh(1), {})
  once = move(model[1])
  again = move(once)
  for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
    assert a.unsafe_buffer_pointer() == b.unsafe_buffer_pointer()


@pytest.mark.parametrize("weights", weight_sync.WEIGHT_FORMATS)
def test_weights_on_another_mesh_have_the_same_values(model, weights):
  graphdef, params = model
  one = weight_sync.WeightSync(weights, mesh(1), {})(params)
  two = weight_sync.WeightSync(weights, mesh(2), RULES)(
    weight_sync.WeightSync("", mesh(8), RULES)(params)
  )
  assert {len(x.sharding.device_set) for x in jax.tree.leaves(two)} == {2}
  up = two["layers"]["mlp"]["up_proj"]["weight"].get_value()
  rows = getattr(up, "qvalue", up).sharding.shard_shape(up.shape)
  assert rows[1] == up.shape[1] // 2
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
    np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("shape", [{"fsdp": 1, "tensor": 8}, {"fsdp": 4, "tensor": 2}])
def test_repartitioned_weights_do_not_pass_through_the_host(model, shape, monkeypatch):
  rules = RULES | {"embed": "fsdp"}
  source = weight_sync.WeightSync("", sharding.make_mesh({"fsdp": 8, "tensor": 1}), rules)(model[1])
  # device_put shards through numpy arrays what it cannot reshard on the devices.
  through, shard = [], pxla.shard_args

  def spied(shardings, layouts, semantics, args, **how):
    through.extend(x for x in args if isinstance(x, np.ndarray))
    return shard(shardings, layouts, semantics, args, **how)

  monkeypatch.setattr(pxla, "shard_args", spied)
  mesh = sharding.make_mesh(shape)
  jax.device_put(source, weight_sync.layout(source, mesh, rules))
  assert through  # the spy would see it
  through.clear()
  moved = weight_sync.WeightSync("", mesh, rules)(source)
  assert not through
  wanted = weight_sync.layout(source, mesh, rules)
  for x, place, y in zip(*map(jax.tree.leaves, (moved, wanted, source)), strict=True):
    assert x.sharding.is_equivalent_to(place, x.ndim)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("weights, least, most", [("bfloat16", 1e-5, 0.05), ("int8", 1e-5, 0.1)])
def test_smaller_weights_change_log_probabilities_little(model, weights, least, most):
  graphdef, params = model
  gap = np.abs(
    logps(graphdef, weight_sync.WeightSync(weights, mesh(1), {})(params)) - logps(*model)
  )
  assert least < gap.mean() < gap.max() < most
