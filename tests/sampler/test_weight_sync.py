"""The sampler's own layout of the weights, and smaller ones."""

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


def test_weights_that_lie_as_wanted_stay_where_they_are(model):
  move = weight_sync.Weights("", mesh(1), {})
  once = move(model[1])
  again = move(once)
  for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
    assert a.unsafe_buffer_pointer() == b.unsafe_buffer_pointer()


@pytest.mark.parametrize("kept", weight_sync.KEPT)
def test_weights_go_to_another_mesh_and_say_the_same(model, kept):
  graphdef, params = model
  one = weight_sync.Weights(kept, mesh(1), {})(params)
  two = weight_sync.Weights(kept, mesh(2), RULES)(weight_sync.Weights("", mesh(8), RULES)(params))
  assert {len(x.sharding.device_set) for x in jax.tree.leaves(two)} == {2}
  up = two["layers"]["mlp"]["up_proj"]["weight"].get_value()
  rows = getattr(up, "qvalue", up).sharding.shard_shape(up.shape)
  assert rows[1] == up.shape[1] // 2
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
    np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("shape", [{"fsdp": 1, "tensor": 8}, {"fsdp": 4, "tensor": 2}])
def test_weights_that_are_cut_otherwise_do_not_pass_through_the_host(model, shape, monkeypatch):
  rules = RULES | {"embed": "fsdp"}
  source = weight_sync.Weights("", sharding.make_mesh({"fsdp": 8, "tensor": 1}), rules)(model[1])
  # Where device_put takes what it cannot find cut on a device, as an array of numpy's.
  through, shard = [], pxla.shard_args

  def spied(shardings, layouts, semantics, args, **how):
    through.extend(x for x in args if isinstance(x, np.ndarray))
    return shard(shardings, layouts, semantics, args, **how)

  monkeypatch.setattr(pxla, "shard_args", spied)
  mesh = sharding.make_mesh(shape)
  jax.device_put(source, weight_sync.layout(source, mesh, rules))
  assert through  # the spy would see it
  through.clear()
  moved = weight_sync.Weights("", mesh, rules)(source)
  assert not through
  wanted = weight_sync.layout(source, mesh, rules)
  for x, place, y in zip(*map(jax.tree.leaves, (moved, wanted, source)), strict=True):
    assert x.sharding.is_equivalent_to(place, x.ndim)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kept, least, most", [("bfloat16", 1e-5, 0.05), ("int8", 1e-5, 0.1)])
def test_what_smaller_weights_change_is_small(model, kept, least, most):
  graphdef, params = model
  apart = np.abs(logps(graphdef, weight_sync.Weights(kept, mesh(1), {})(params)) - logps(*model))
  assert least < apart.mean() < apart.max() < most
