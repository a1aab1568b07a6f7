"""The train step: state and batch in, state and metrics out. One for every objective.

B sequences, T tokens.
"""

import math
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
  return jax.jit(make, out_shardings=sharding.shardings_of(jax.eval_shape(make), mesh, rules))()


def init_state(params, tx, mesh, rules):
  """The state before the first step. Returns (state, its shardings)."""
  make = lambda params: TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
  shardings = sharding.shardings_of(jax.eval_shape(make, params), mesh, rules)
  return jax.jit(make, out_shardings=shardings)(params), shardings


def make_step(graphdef, loss_fn, tx, shardings, *, weigh, accumulate=1):
  """`(state, batch, rate) -> (state, metrics)`, compiled; the state that goes in is given up.

  The learning rate, a number of the host's, is an argument: stages that differ in their schedule
  alone share a program.

  The tokens' weights are computed of the whole batch, so that the gradients of its slices add up
  to its own. The slices leave their log-probabilities behind, and the metrics are computed of all
  of them at once: nothing has to be combined, quantiles and maxima included.

  Args:
    graphdef: of the model.
    loss_fn: `(logps_BT, batch, weights_BT) -> (scalar, metrics)`: the only thing in which
      objectives differ.
    tx: an optax transformation at a learning rate of 1, as optim.make makes it.
    shardings: of the state, from `init_state`.
    weigh: `batch -> f32[B, T]`, what each token weighs in the loss; see aggregation.weights.
    accumulate: how many slices of the batch go through the model one after the other, for less
      memory. A slice holds whole groups: it takes its share of the prompts (or rows of pictures)
      and the rows that read them. Best a multiple of the devices that share the batch.
  """

  def loss(params, batch, weights_BT):
    logps_BT = logprobs.batch_logps(nnx.merge(graphdef, params), batch, masked=True)
    return loss_fn(logps_BT, batch, weights_BT)[0], logps_BT

  gradient = jax.grad(loss, has_aux=True)

  def step(state, batch, rate):
    weights_BT = weigh(batch)
    if accumulate == 1:
      grads, logps_BT = gradient(state.params, batch, weights_BT)
    else:
      grads, logps_BT = _accumulated(
        gradient, state.params, batch, weights_BT, accumulate, shardings.params
      )
    _, metrics = loss_fn(logps_BT, batch, weights_BT)

    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    updates = optax.tree.scale(rate, updates)
    params = optax.apply_updates(state.params, updates)
    # A step that would poison the weights is not taken; the caller sees the norm and stops. Nor is
    # one that has nothing to say: momentum alone must not move them.
    taken = jnp.isfinite(norm) & (norm > 0)
    keep = lambda new, old: jnp.where(taken, new, old)
    params = jax.tree.map(keep, params, state.params)
    opt_state = jax.tree.map(keep, opt_state, state.opt_state)
    return TrainState(state.step + 1, params, opt_state), {**metrics, "train/grad_norm": norm}

  return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def make_logps(graphdef, *, accumulate=1):
  """`(params, batch) -> f32[B, T]`, compiled: log-probabilities of the tokens that count.

  accumulate: as of a step, slices of the batch that go through the model one after the other; fewer
    where its prompts (or rows) do not divide into so many.
  """

  def logps(params, batch):
    of = lambda part: logprobs.batch_logps(nnx.merge(graphdef, params), part, masked=True)
    count = math.gcd(units(batch), accumulate)
    if count == 1:
      return of(batch)
    return whole(jax.lax.map(of, slices(batch, count)), units(batch))

  return jax.jit(logps)


def _accumulated(gradient, params, batch, weights_BT, count, shardings):
  """(the gradient, logps_BT) of a batch that goes through the model in `count` slices."""

  def one(total, part):
    grads, logps_BT = gradient(params, *part)
    total = jax.tree.map(jnp.add, total, grads)
    return jax.lax.with_sharding_constraint(total, shardings), logps_BT

  # Sums are kept in float32, whatever the parameters are in.
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
  total, parts = jax.lax.scan(one, zeros, slices((batch, weights_BT), count))
  grads = jax.tree.map(lambda grad, x: grad.astype(x.dtype), total, params)
  return grads, whole(parts, units(batch))


def units(tree):
  """How many pieces a batch falls into: rows that read one prompt, or its pictures, are one."""
  return min(len(x) for x in jax.tree.leaves(tree))


def slices(tree, count):
  """A batch as `count` batches, stacked on a new first axis; slice i takes unit i, i + count, ...

  So each device finds its share of every slice among its own rows.

  Raises:
    ValueError: the units cannot be divided by `count`.
  """
  unit = units(tree)
  if unit % count:
    raise ValueError(
      f"{unit} prompts (or rows) cannot be cut into {count} equal slices: change this stage's "
      f"accumulate, or how many it trains on in a step"
    )

  def cut(x):
    parts = x.reshape(unit // count, count, len(x) // unit, *x.shape[1:])
    return parts.swapaxes(0, 1).reshape(count, len(x) // count, *x.shape[1:])

  return jax.tree.map(cut, tree)


def whole(x, unit):
  """The way back from `slices` for one array of a batch with `unit` units."""
  count, rows = x.shape[:2]
  parts = x.reshape(count, unit // count, count * rows // unit, *x.shape[2:])
  return parts.swapaxes(0, 1).reshape(count * rows, *x.shape[2:])


def check(metrics, step):
  """Raises FloatingPointError where the loss or its gradient is not finite."""
  for name in ("train/loss", "train/grad_norm"):
    if not jnp.isfinite(metrics[name]):
      raise FloatingPointError(
        f"step {step}: {name} is {float(metrics[name])}; the step was not taken and the last "
        f"checkpoint is sound. Lower this stage's optim.lr or optim.clip"
      )
