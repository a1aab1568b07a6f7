"""The train step, for every objective: state and batch in, state and metrics out.

B sequences, T tokens.
"""

import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from cot_rm import optim, sharding
from cot_rm.batch import Batch
from cot_rm.models import logprobs, nonfinite

Tree = TypeVar("Tree")  # a pytree, returned with the same structure
Metrics = Mapping[str, jax.Array]


class TrainState(NamedTuple):
  step: jax.Array  # i32[]: optimizer steps so far
  params: Any  # nnx.State
  opt_state: Any


class Loss(Protocol):
  """`(logps_BT, batch, weights_BT) -> (scalar loss, metrics)`: the objective of a step.

  In a step with `outputs` the first argument has those, and the weights are as its objective wants.
  """

  def __call__(
    self, logps_BT: jax.Array, batch: Batch, weights_BT: jax.Array, /
  ) -> tuple[jax.Array, Metrics]: ...


class Step(Protocol):
  """`(state, batch, learning rate) -> (state, metrics)`; the state passed in is donated."""

  def __call__(
    self, state: TrainState, batch: Batch, learning_rate: float | jax.Array, /
  ) -> tuple[TrainState, Metrics]: ...


class Logps(Protocol):
  """`(params, batch) -> f32[B, T]`: log-probabilities of the tokens in batch.mask."""

  def __call__(self, params: nnx.State, batch: Batch, /) -> jax.Array: ...


def abstract_model(build: Callable[[nnx.Rngs], nnx.Module]) -> tuple[nnx.GraphDef, nnx.State]:
  """(graphdef, abstract params) of `build(rngs)`, without making an array."""
  return nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))


def init_params(
  build: Callable[[nnx.Rngs], nnx.Module], seed: int, mesh: Mesh, rules: sharding.Rules
) -> nnx.State:
  """Random parameters of `build(rngs)`, made as shards: no host ever holds all of them."""
  make = lambda: nnx.state(build(nnx.Rngs(seed)))
  return jax.jit(make, out_shardings=sharding.shardings_of(jax.eval_shape(make), mesh, rules))()


def copy_params(params: nnx.State) -> nnx.State:
  """The same parameters in buffers of their own: a train step donates those of its state."""
  return jax.tree.map(lambda x: x.copy(), params)


def init_state(
  params: nnx.State, tx: optax.GradientTransformation, mesh: Mesh, rules: sharding.Rules
) -> tuple[TrainState, Any]:
  """(the state before the first step, its shardings)."""
  make = lambda params: TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
  shardings = sharding.shardings_of(jax.eval_shape(make, params), mesh, rules)
  return jax.jit(make, out_shardings=shardings)(params), shardings


def make_step(
  graphdef: nnx.GraphDef,
  loss_fn: Loss,
  tx: optax.GradientTransformation,
  shardings: Any,
  *,
  token_weights: Callable[[Batch], jax.Array],
  frozen: Collection[str],
  accumulate: int = 1,
  temperature: float = 1.0,
  outputs: Callable[[Any, Batch], jax.Array] | None = None,
) -> Step:
  """The compiled train step. A step whose gradient is not finite, or is 0, changes nothing.

  The learning rate is an argument of the step: stages that differ only in their schedule share a
  program.

  With gradient accumulation the token weights are computed of the whole batch, so that the
  gradients of the microbatches add up to the batch's. Metrics are computed once, of the
  log-probabilities of all microbatches: quantiles and maxima need no combination.

  Args:
    graphdef: of the model.
    loss_fn: the objective.
    tx: an optax transformation at a learning rate of 1, see optim.make.
    shardings: of the state, see `init_state`.
    token_weights: `batch -> f32[B, T]`, see aggregation.token_weights.
    frozen: patterns of the parameters that `tx` does not train, see optim.make: their gradients are
      not computed, and are no part of train/grad_norm.
    accumulate: microbatches that go through the model one after the other, for less memory. Each
      holds whole groups, see `split`. Best a multiple of the devices that share the batch.
    temperature: of the log-probabilities, see logprobs.batch_logps.
    outputs: `(model, batch) -> array` of which the loss is computed, with the rows of the batch
      first; None: the log-probabilities of the tokens in batch.mask.
  """
  if outputs is None:
    outputs = functools.partial(logprobs.batch_logps, masked=True, temperature=temperature)

  def loss(params: nnx.State, batch: Batch, weights_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, optim.stop_gradients(params, frozen))
    logps_BT = outputs(model, batch)
    return loss_fn(logps_BT, batch, weights_BT)[0], logps_BT

  gradient = jax.grad(loss, has_aux=True)

  def step(state: TrainState, batch: Batch, learning_rate: jax.Array) -> tuple[TrainState, Metrics]:
    weights_BT = token_weights(batch)
    if accumulate == 1:
      grads, logps_BT = gradient(state.params, batch, weights_BT)
    else:
      grads, logps_BT = _accumulated(
        gradient, state.params, (batch, weights_BT), accumulate, shardings.params
      )
    _, metrics = loss_fn(logps_BT, batch, weights_BT)

    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    updates = optax.tree.scale(learning_rate, updates)
    params = optax.apply_updates(state.params, updates)
    # A gradient that is not finite would poison the weights; the caller sees its norm and stops.
    # With a gradient of 0 momentum alone would move them.
    taken = jnp.isfinite(norm) & (norm > 0)
    keep = lambda new, old: jnp.where(taken, new, old)
    params = jax.tree.map(keep, params, state.params)
    opt_state = jax.tree.map(keep, opt_state, state.opt_state)
    return TrainState(state.step + 1, params, opt_state), {**metrics, "train/grad_norm": norm}

  return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def make_logps(graphdef: nnx.GraphDef, *, accumulate: int = 1, temperature: float = 1.0) -> Logps:
  """`jit_logps`, whose function raises FloatingPointError where its result is not finite.

  The error names the first row, and the first weight or layer that is not finite.
  """
  jitted = jit_logps(graphdef, accumulate=accumulate, temperature=temperature)

  def logps(params: nnx.State, batch: Batch) -> jax.Array:
    logps_BT = jitted(params, batch)
    fine_B = jnp.isfinite(logps_BT).all(axis=1)
    if not fine_B.all():
      where = nonfinite.describe(graphdef, params, batch)
      raise FloatingPointError(
        f"log-probabilities of row {int(fine_B.argmin())} of a batch are not finite: {where}"
      )
    return logps_BT

  return logps


def jit_logps(
  graphdef: nnx.GraphDef, *, accumulate: int = 1, temperature: float = 1.0
) -> jax.stages.Wrapped:
  """Compiled `(params, batch) -> f32[B, T]`: log-probabilities of the tokens in batch.mask.

  Args:
    graphdef: of the model.
    accumulate: number of microbatches, see `make_step`. If it does not divide the number of groups,
      the greatest common divisor of both is used.
    temperature: of the log-probabilities, see logprobs.batch_logps.
  """

  def logps(params: nnx.State, batch: Batch) -> jax.Array:
    of = lambda part: logprobs.batch_logps(
      nnx.merge(graphdef, params), part, masked=True, temperature=temperature
    )
    count = math.gcd(num_groups(batch), accumulate)
    if count == 1:
      return of(batch)
    return join(jax.lax.map(of, split(batch, count)), num_groups(batch))

  return jax.jit(logps)


def _accumulated(
  gradient: Callable[..., tuple[nnx.State, jax.Array]],
  params: nnx.State,
  batch: tuple[Batch, jax.Array],
  count: int,
  shardings: Any,
) -> tuple[nnx.State, jax.Array]:
  """(gradient, logps_BT) of (batch, weights_BT); gradients of `count` microbatches are summed."""

  def add(total: nnx.State, part: tuple[Batch, jax.Array]) -> tuple[nnx.State, jax.Array]:
    grads, logps_BT = gradient(params, *part)
    total = jax.tree.map(jnp.add, total, grads)
    return jax.lax.with_sharding_constraint(total, shardings), logps_BT

  # Sums are float32, whatever the dtype of the parameters.
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
  total, parts = jax.lax.scan(add, zeros, split(batch, count))
  grads = jax.tree.map(lambda grad, x: grad.astype(x.dtype), total, params)
  return grads, join(parts, num_groups(batch))


def num_groups(tree: Any) -> int:
  """Number of groups in a batch: rows with a common prompt or common pictures are a group.

  In a batch without prompts and pictures each row is a group.
  """
  return min(len(x) for x in jax.tree.leaves(tree))


def split(tree: Tree, count: int) -> Tree:
  """A batch as `count` microbatches of whole groups, stacked on a new first axis.

  Microbatch i takes the groups i, i + count, ...: each device finds its share of every microbatch
  among its own rows.

  Raises:
    ValueError: the number of groups is no multiple of `count`.
  """
  groups = num_groups(tree)
  if groups % count:
    raise ValueError(
      f"{groups} prompts (or rows) cannot be cut into {count} equal microbatches: change "
      f"`accumulate`, or how many prompts (rows) are trained on in a step"
    )

  def cut(x: jax.Array) -> jax.Array:
    parts = x.reshape(groups // count, count, len(x) // groups, *x.shape[1:])
    return parts.swapaxes(0, 1).reshape(count, len(x) // count, *x.shape[1:])

  return jax.tree.map(cut, tree)


def join(x: jax.Array, groups: int) -> jax.Array:
  """Inverse of `split` for one array of a batch with that many groups."""
  count, rows = x.shape[:2]
  parts = x.reshape(count, groups // count, count * rows // groups, *x.shape[2:])
  return parts.swapaxes(0, 1).reshape(count * rows, *x.shape[2:])


def check_finite(metrics: Metrics, step: int) -> None:
  """Raises FloatingPointError where the loss or the gradient norm of a step is not finite."""
  for name in ("train/loss", "train/grad_norm"):
    if not jnp.isfinite(metrics[name]):
      raise FloatingPointError(
        f"step {step}: {name} is {float(metrics[name])}; the step was not taken and the last "
        f"checkpoint is sound. Lower this stage's optim.lr or optim.clip"
      )
