"""The train step: state and batch in, state and metrics out. One for every objective.

B sequences, T tokens.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from cot_rm import sharding
from cot_rm.models import logprobs


class TrainState(NamedTuple):
  step: jax.Array  # i32[]: updates done
  params: Any  # nnx.State
  opt_state: Any


def abstract(build):
  """(graphdef, abstract params) of `build(rngs) -> Model`, without making an array."""
  return nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))


def init_params(build, seed, mesh, rules):
  """Random parameters, made straight in their shards: no host ever holds all of them."""
  make = lambda: nnx.state(build(nnx.Rngs(seed)))
  return jax.jit(make, out_shardings=sharding.of(jax.eval_shape(make), mesh, rules))()


def init_state(params, tx, mesh, rules):
  """The state before the first step. Returns (state, its shardings)."""
  make = lambda params: TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
  shardings = sharding.of(jax.eval_shape(make, params), mesh, rules)
  return jax.jit(make, out_shardings=shardings)(params), shardings


def make_step(graphdef, loss_fn, tx, shardings):
  """`(state, batch) -> (state, metrics)`, compiled; the state that goes in is given up.

  Args:
    graphdef: of the model.
    loss_fn: `(logps_BT, batch) -> (scalar, metrics)`: the only thing in which objectives differ.
    tx: an optax transformation.
    shardings: of the state, from `init_state`.
  """

  def step(state, batch):
    def loss(params):
      return loss_fn(logprobs.of(nnx.merge(graphdef, params), batch), batch)

    (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A step that would poison the weights is not taken; the caller sees the norm and stops.
    sound = jnp.isfinite(norm)
    keep = lambda new, old: jnp.where(sound, new, old)
    params = jax.tree.map(keep, params, state.params)
    opt_state = jax.tree.map(keep, opt_state, state.opt_state)
    return TrainState(state.step + 1, params, opt_state), {**metrics, "train/grad_norm": norm}

  return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def check(metrics, step):
  """Raises FloatingPointError where the loss or its gradient is not finite."""
  for name in ("train/loss", "train/grad_norm"):
    if not jnp.isfinite(metrics[name]):
      raise FloatingPointError(
        f"step {step}: {name} is {float(metrics[name])}; the step was not taken and the last "
        f"checkpoint is sound. Lower this stage's optim.lr or optim.clip"
      )
