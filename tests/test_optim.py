"""The schedule, and which parameters move."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from cot_rm import optim, sharding
from cot_rm.models import qwen2_5_vl
from tests import defaults


def test_the_schedule_rises_stays_and_falls_to_its_end():
  rate = optim.schedule(lr=1.0, steps=100, warmup=10, decay=0.5, final=0.1)
  got = [float(rate(i)) for i in (0, 4, 9, 10, 49, 50, 75, 100)]
  np.testing.assert_allclose(got, [0.1, 0.5, 1, 1, 1, 1, 0.55, 0.1], atol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1, 3, 10])
def test_step_1_of_a_warm_up_of_n_has_an_nth_of_the_rate_and_step_n_all_of_it(warmup):
  """torch's LinearLR from 1 / n to 1 over n - 1 steps."""
  rate = optim.schedule(lr=2e-5, steps=10, warmup=warmup, decay=0.0, final=0.0)
  parameter = torch.optim.SGD([torch.zeros(1)], lr=2e-5)
  theirs = torch.optim.lr_scheduler.LinearLR(
    parameter, start_factor=1 / max(warmup, 1), total_iters=max(warmup, 1) - 1
  )
  for step in range(10):
    assert float(rate(step)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
    parameter.step()
    theirs.step()


@pytest.mark.parametrize("steps, warmup, decay", [(40, 30, 0.5), (10, 9, 1.0), (7, 0, 1.0)])
def test_the_decay_ends_with_the_run_where_the_warm_up_leaves_it_fewer_steps(steps, warmup, decay):
  rate = optim.schedule(lr=1.0, steps=steps, warmup=warmup, decay=decay, final=0.1)
  rates = [float(rate(i)) for i in range(steps + 1)]
  assert max(rates) == 1 and rates[max(warmup - 1, 0)] == 1
  assert rates[-1] == pytest.approx(0.1) and rates[-2] > 0.1


@pytest.mark.parametrize("decay_vectors", [False, True])
@pytest.mark.parametrize("muon", [0.0, 20.0])
def test_weight_decay_is_torch_s_adamw_with_norms_and_biases_in_a_group_without(
  muon, decay_vectors
):
  rng = np.random.default_rng(0)
  shapes = {"q_proj.weight": (6, 4), "q_proj.bias": (6,), "norm.weight": (4,)}
  shapes |= {"embed_tokens.weight": (8, 4)}
  start = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
  grads = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
  if muon:  # the gradient alone differs from AdamW's: without it the decay remains
    grads = {name: np.zeros_like(grad) for name, grad in grads.items()}
  tree = lambda leaves: {
    layer: {
      kind: jnp.asarray(leaves[f"{layer}.{kind}"])
      for kind in ("weight", "bias")
      if f"{layer}.{kind}" in leaves
    }
    for layer in ("q_proj", "norm", "embed_tokens")
  }
  knobs = dict(lr=0.1, steps=10, warmup=0, decay=0.0, weight_decay=0.3, clip=1e9, frozen=())
  tx, _ = defaults.optimizer(muon=muon, decay_vectors=decay_vectors, **knobs)
  updates, _ = tx.update(tree(grads), tx.init(tree(start)), tree(start))
  found = optax.apply_updates(tree(start), optax.tree.scale(0.1, updates))

  parameters = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in start.items()}
  decayed = [name for name in shapes if decay_vectors or name not in ("q_proj.bias", "norm.weight")]
  groups = [
    dict(
      params=[parameter],
      weight_decay=0.3 * (name in decayed) * (muon if muon and "proj.weight" in name else 1),
    )
    for name, parameter in parameters.items()
  ]
  theirs = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.98), eps=1e-8)
  for name, parameter in parameters.items():
    parameter.grad = torch.tensor(grads[name])
  theirs.step()
  for name, parameter in parameters.items():
    layer, kind = name.split(".")
    np.testing.assert_allclose(found[layer][kind], parameter.detach().numpy(), atol=1e-6)


def test_norms_and_biases_are_the_parameters_with_one_axis_a_layer():
  model = nnx.eval_shape(lambda: qwen2_5_vl.Model(qwen2_5_vl.PRESETS["tiny"], rngs=nnx.Rngs(0)))
  params = nnx.state(model, nnx.Param)
  tx, _ = defaults.optimizer(lr=1.0, steps=1, warmup=0, weight_decay=1.0, clip=1e9, frozen=())
  ones = jax.tree.map(lambda x: jnp.ones(x.shape), params)
  zeros = jax.tree.map(jnp.zeros_like, ones)
  updates, _ = tx.update(zeros, tx.init(ones), ones)
  found = {path: bool((x[...] != 0).any()) for path, x in nnx.to_flat_state(updates)}
  axes = {
    path: [axis for axis in sharding.axes_of(x) if axis != "layers"]
    for path, x in nnx.to_flat_state(params)
  }
  assert found == {path: len(names) > 1 for path, names in axes.items()}
  assert sorted(set(found.values())) == [False, True]


def test_muon_moves_matrices_by_the_rms_it_says_and_the_rest_as_adamw_does():
  rng = np.random.default_rng(0)
  params = {
    "embed_tokens": {"weight": jnp.zeros((8, 4))},
    "norm": {"weight": jnp.zeros((2, 4))},  # of two layers
    "q_proj": {"weight": jnp.zeros((2, 12, 4)), "bias": jnp.zeros((2, 12))},
  }
  grads = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
  steps = {}
  for muon in (0.0, 2.0):
    tx, _ = defaults.optimizer(lr=1.0, steps=10, warmup=0, clip=1e9, muon=muon, frozen=())
    steps[muon], _ = tx.update(grads, tx.init(params), params)
  for name, part in steps[2.0].items():
    for kind, step in part.items():
      if (name, kind) != ("q_proj", "weight"):
        # Muon's AdamW looks ahead (Nesterov): the first step is the same but for its size.
        np.testing.assert_array_equal(np.sign(step), np.sign(steps[0.0][name][kind]))
  for step in np.asarray(steps[2.0]["q_proj"]["weight"]):  # each layer for itself
    # 0.2 sqrt(12) lr times a matrix whose singular values are near 1: five Newton-Schulz steps.
    values = np.linalg.svd(step)[1] / (2 * 0.2 * 12**0.5)
    assert (0.6 < values).all() and (values < 1.3).all()


def moved(**knobs):
  params = {"visual": {"weight": jnp.ones(2)}, "norm": {"weight": jnp.ones(2)}}
  tx, rate = defaults.optimizer(lr=0.1, steps=10, warmup=1, **({"frozen": ()} | knobs))
  state = tx.init(params)
  for i in range(2):
    updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    params = optax.apply_updates(params, optax.tree.scale(rate(i), updates))
  return {name: bool((leaf["weight"] != 1).all()) for name, leaf in params.items()}


def test_a_frozen_group_does_not_move():
  assert moved() == {"visual": True, "norm": True}
  assert moved(frozen=("visual",)) == {"visual": False, "norm": True}


NAMES = ("visual.blocks.attn.qkv.weight", "visual.merger.fc1.bias", "layers.mlp.up_proj.weight")


@pytest.mark.parametrize(
  "frozen, words",
  [
    (("vision", "visual"), "match of 'vision'; did you mean 'visual'.*begin with layers, visual"),
    (("model.visual.merger",), "'model.visual.merger'; did you mean 'visual.merger'"),
    (("qkv",), "'qkv'; the paths begin with"),
    (("visual", "layers"), "'visual', 'layers' match all parameters"),
    (("visual.(",), "'visual.[(]' is no regular expression"),
  ],
)
def test_patterns_that_match_nothing_or_everything_name_the_pattern_and_near_names(frozen, words):
  with pytest.raises(ValueError, match=f"optim.frozen.*{words}"):
    optim.frozen_names(NAMES, frozen)


def test_a_pattern_is_searched_at_the_start_of_a_name():
  assert optim.frozen_names(NAMES, ["visual.b", r".*\.bias"]) == {*NAMES[:2]}


def test_a_pattern_that_matches_nothing_is_an_error_before_the_first_step():
  with pytest.raises(ValueError, match="optim.frozen.*vision"):
    moved(frozen=("vision",))


@pytest.mark.parametrize("knobs, words", [({"lr": -1.0}, "-1"), ({"frozen": ("(",)}, "'\\('")])
def test_a_rate_below_0_and_a_pattern_that_is_none_are_errors(knobs, words):
  with pytest.raises(ValueError, match=rf"optim\.{[*knobs][0]}.*{words}"):
    defaults.optimizer(**({"lr": 1.0, "steps": 1, "warmup": 0} | knobs))


def test_the_schedule_is_no_part_of_the_program():
  params = {"q_proj": {"weight": jnp.ones((4, 4))}, "norm": {"weight": jnp.ones(4)}}

  def program(**knobs):
    tx, _ = defaults.optimizer(muon=2.0, frozen=(), **knobs)
    return str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))

  assert program(lr=0.1, steps=10, warmup=1) == program(lr=0.3, steps=50, warmup=5, decay=0.2)


@pytest.mark.parametrize(
  "decay, done, same", [(0.0, 10, True), (0.5, 5, True), (0.5, 6, True), (0.5, 8, False)]
)
def test_two_lengths_have_the_same_rates_until_one_falls(decay, done, same):
  knobs = dict(lr=1e-3, warmup=2, decay=decay, final=0.0, clip=1.0)
  assert optim.same_rates(knobs, (10, 20), done) is same
