"""One step, pinned; the same on one device and on eight."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cot_rm import optim, sharding, train
from cot_rm.algorithms import grpo, sft
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from tests import chats

CONFIG = dataclasses.replace(qwen2_5_vl.PRESETS["tiny"], vocab_size=400)
BUCKETS = packing.Buckets(tokens=(32,), patches=(32,))
RULES = {
  "batch": ("data", "fsdp"),
  "embed": "fsdp",
  "mlp": "tensor",
  "heads": "tensor",
  "kv_heads": "tensor",
  "vocab": "tensor",
}
OBJECTIVES = {
  "sft": functools.partial(sft.loss, settings=sft.Config()),
  "grpo": functools.partial(grpo.loss, settings=grpo.Config()),
}


def batch():
  rng = np.random.default_rng(0)
  rows = []
  for b in range(4):
    answer = rng.integers(8, 400, 6).astype(np.int32)
    group = [
      packing.Item(chats.encoded(b, 12, (4,)), answer, rng.normal(-6, 0.1, 6).astype(np.float32), a)
      for a in (1.0, -1.0)
    ]
    rows.append(group)
  made = packing.groups(rows, BUCKETS, rows=4)
  return dataclasses.replace(made, ref_logps=made.old_logps - 0.1)


def steps(objective, mesh, rules, count=2):
  build = lambda rngs: qwen2_5_vl.Model(CONFIG, rngs=rngs)
  graphdef, _ = train.abstract(build)
  with sharding.use(mesh, rules):
    params = train.init_params(build, 0, mesh, rules)
    tx, _ = optim.make(lr=1e-2, steps=10, warmup=1)
    state, shardings = train.init_state(params, tx, mesh, rules)
    step = train.make_step(graphdef, OBJECTIVES[objective], tx, shardings)
    out = []
    for _ in range(count):
      state, metrics = step(state, sharding.put(batch(), mesh, rules))
      out.append({name: float(value) for name, value in metrics.items()})
  return state, out


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_on_eight_devices_equals_one_on_one(objective):
  one = sharding.make_mesh({"data": 1}, jax.devices()[:1])
  state, alone = steps(objective, one, {})
  eight = sharding.make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
  spread_state, spread = steps(objective, eight, RULES)
  for a, b in zip(alone, spread, strict=True):
    for name in a:
      np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-5, err_msg=name)
  # Adam divides by the gradient's own size: where that is next to nothing, rounding decides.
  close = [
    np.isclose(np.asarray(a), np.asarray(b), atol=2e-4).mean()
    for a, b in zip(
      jax.tree.leaves(state.params), jax.tree.leaves(spread_state.params), strict=True
    )
  ]
  assert min(close) > 0.99
  weight = spread_state.params["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert weight.sharding.spec == jax.sharding.PartitionSpec(None, "tensor", "fsdp")


def test_a_step_without_a_finite_gradient_is_not_taken_and_is_loud():
  mesh = sharding.make_mesh({"data": 1}, jax.devices()[:1])
  build = lambda rngs: qwen2_5_vl.Model(CONFIG, rngs=rngs)
  graphdef, _ = train.abstract(build)
  tx, _ = optim.make(lr=1e-2, steps=10)
  state, shardings = train.init_state(train.init_params(build, 0, mesh, {}), tx, mesh, {})
  before = jax.tree.map(np.asarray, state.params)
  broken = lambda logps_BT, batch: (jnp.nan * logps_BT.sum(), {"train/loss": jnp.nan})
  state, metrics = train.make_step(graphdef, broken, tx, shardings)(state, batch())
  jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, state.params))
  with pytest.raises(FloatingPointError, match="step 7: train/loss is nan.*lr"):
    train.check(metrics, 7)


def test_pictures_get_a_gradient():
  model = qwen2_5_vl.Model(CONFIG, rngs=nnx.Rngs(0))
  graphdef, params = nnx.split(model)

  def loss(params):
    return OBJECTIVES["sft"](logprobs.of(nnx.merge(graphdef, params), batch()), batch())[0]

  grads = jax.jit(jax.grad(loss))(params)
  for path, leaf in nnx.to_flat_state(grads):
    # A key's bias shifts every score of a query alike: a softmax does not see it.
    if path[-2:] != ("k_proj", "bias"):
      assert float(jnp.abs(leaf[...]).max()) > 0, path
