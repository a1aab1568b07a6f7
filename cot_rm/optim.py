"""The optimizer: learning-rate schedule, AdamW or Muon, gradient clipping, frozen parameters."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib
from flax import nnx

Schedule = optax.Schedule  # learning rate by step

# Matrices that map activations to activations; not embeddings, heads, norms and biases.
_MATRIX = re.compile(r".*(proj|qkv|fc\d)\.weight(\.value)?")
# Scales of norms, and biases: their size is no complexity that weight decay should lower.
_VECTOR = re.compile(r"(.*\.)?(\w*norm\d*|ln_q)\.weight(\.value)?|.*\bbias(\.value)?")


def schedule(*, lr: float, steps: int, warmup: int, decay: float, final: float) -> Schedule:
  """Learning rate by step: linear warm-up, constant, cosine decay at the end.

  Args:
    lr: peak learning rate.
    steps: number of steps.
    warmup: steps of warm-up; the first has lr / warmup, the last has lr.
    decay: fraction of the steps, at the end, in which a cosine lowers it from lr to final * lr;
      fewer where the warm-up leaves fewer.
    final: learning rate after the last step, as a fraction of lr.

  Returns:
    The rate by the number of steps that were taken before: 0 for the first.
  """
  falling = max(min(round(decay * steps), steps - warmup), 1)
  return optax.join_schedules(
    [
      lambda before: lr * (before + 1) / max(warmup, 1),
      optax.constant_schedule(lr),
      optax.cosine_decay_schedule(lr, falling, alpha=final),
    ],
    [warmup, max(steps - falling, warmup)],
  )


def same_rates(knobs: Mapping[str, Any], steps: tuple[int, int], done: int) -> bool:
  """Whether schedules of two lengths have the same learning rates in the first `done` steps.

  Args:
    knobs: lr, warmup, decay and final of `schedule`, among others.
    steps: the two lengths.
    done: number of steps.
  """
  own = {name: knobs[name] for name in ("lr", "warmup", "decay", "final")}
  one, other = (schedule(steps=length, **own)(np.arange(done)) for length in steps)
  return np.array_equal(np.asarray(one), np.asarray(other))


def make(
  *,
  lr: float,
  steps: int,
  warmup: int,
  decay: float,
  final: float,
  clip: float,
  weight_decay: float,
  decay_vectors: bool,
  b1: float,
  b2: float,
  muon: float,
  frozen: Collection[str],
) -> tuple[optax.GradientTransformation, Schedule]:
  """AdamW, or Muon with AdamW, after clipping by the global norm.

  Args:
    lr, steps, warmup, decay, final: see `schedule`.
    clip: bound of the gradient's global norm.
    weight_decay: of AdamW: weight_decay * the learning rate * the parameter is subtracted.
    decay_vectors: whether scales of norms and biases decay, too; embeddings always do.
    b1, b2: of AdamW.
    muon: if not 0, matrices are trained by Muon at muon * lr, scaled to the update size of AdamW (a
      root mean square of 0.2 lr a weight; arXiv:2502.16982), and other parameters by AdamW at lr.
    frozen: regular expressions; a parameter is not trained if one of them matches its path
      ("visual.blocks.attn.qkv.weight") from the start.

  Returns:
    (optax transformation at a learning rate of 1, schedule): multiply the updates of a step by the
    schedule's value at that step.

  Raises:
    ValueError: a negative learning rate, or a pattern that is no regular expression.
  """
  if lr < 0:
    raise ValueError(f"lr (optim.lr) is {lr}; it must be 0 or more")
  _check_patterns(frozen)
  learning_rate = schedule(lr=lr, steps=steps, warmup=warmup, decay=decay, final=final)
  if muon:
    inner = optax.contrib.muon(
      muon,
      adam_learning_rate=1.0,
      adam_b1=b1,
      adam_b2=b2,
      consistent_rms=0.2,
      muon_weight_dimension_numbers=_muon_dimensions,
    )
  else:
    inner = optax.adamw(1.0, b1=b1, b2=b2, weight_decay=0.0)
  decay = [_decay(weight_decay, muon, vectors=decay_vectors)] if weight_decay else []
  chain = optax.chain(optax.clip_by_global_norm(clip), inner, *decay)
  if frozen:
    chain = optax.partition(
      {"train": chain, "freeze": optax.set_to_zero()},
      lambda params: _partition_labels(params, frozen),
    )
  return chain, learning_rate


def frozen_names(names: Iterable[str], frozen: Collection[str]) -> set[str]:
  """Those of the names of a model's parameters that are not trained, see `make`.

  Raises:
    ValueError: a pattern of `frozen` is no regular expression, or matches no parameter, or they
      match all.
  """
  _check_patterns(frozen)
  names = [*names]
  if unused := [pattern for pattern in frozen if not any(re.match(pattern, x) for x in names)]:
    groups = sorted({name[: dot.start()] for name in names for dot in re.finditer(r"\.|$", name)})
    near = [x for pattern in unused for x in difflib.get_close_matches(pattern, groups, 2, 0.5)]
    hint = f"did you mean {' or '.join(map(repr, dict.fromkeys(near)))}? " if near else ""
    first = sorted({name.partition(".")[0] for name in names})
    raise ValueError(
      f"frozen (optim.frozen): no parameter's path begins with a match of "
      f"{', '.join(map(repr, unused))}; {hint}the paths begin with {', '.join(first)}"
    )
  matched = {name for name in names if any(re.match(pattern, name) for pattern in frozen)}
  if matched == {*names}:
    raise ValueError(
      f"frozen (optim.frozen): {', '.join(map(repr, frozen))} match all parameters: none is left "
      "to train"
    )
  return matched


def _check_patterns(frozen: Collection[str]) -> None:
  """Raises ValueError for a pattern that is no regular expression."""
  for pattern in frozen:
    try:
      re.compile(pattern)
    except re.error as error:
      raise ValueError(
        f"frozen (optim.frozen): {pattern!r} is no regular expression: {error}"
      ) from error


def stop_gradients(params: nnx.State, frozen: Collection[str]) -> nnx.State:
  """The parameters, of which the frozen ones get gradients of 0, which cost nothing; see `make`.

  Raises as `frozen_names`.
  """
  stop = lambda is_frozen, x: jax.lax.stop_gradient(x) if is_frozen else x
  return jax.tree.map(stop, _is_frozen(params, frozen), params) if frozen else params


def _partition_labels(params: nnx.State, frozen: Collection[str]) -> Any:
  """The tree with "freeze" or "train" for every parameter."""
  return jax.tree.map(lambda x: "freeze" if x else "train", _is_frozen(params, frozen))


def _is_frozen(params: nnx.State, frozen: Collection[str]) -> Any:
  """The tree with a bool for every parameter."""
  is_variable = lambda x: isinstance(x, nnx.Variable)
  leaves, tree = jax.tree_util.tree_flatten_with_path(params, is_leaf=is_variable)
  names = [_name(path) for path, _ in leaves]
  found = frozen_names(names, frozen)
  values = [
    x.replace(name in found) if is_variable(x) else name in found
    for name, (_, x) in zip(names, leaves, strict=True)
  ]
  return tree.unflatten(values)


def _decay(weight_decay: float, muon: float, *, vectors: bool) -> optax.GradientTransformation:
  """Subtracts weight_decay * parameter, times `muon` where Muon trains it, from the updates."""

  def update(updates: nnx.State, params: nnx.State | None) -> nnx.State:
    assert params is not None

    def subtract(path: jax.tree_util.KeyPath, x: jax.Array, parameter: jax.Array) -> jax.Array:
      name = _name(path)
      if _VECTOR.fullmatch(name) and not vectors:
        return x
      rate = muon if muon and _MATRIX.fullmatch(name) else 1.0
      return x - weight_decay * rate * parameter

    return jax.tree_util.tree_map_with_path(subtract, updates, params)

  return optax.stateless(update)


def _muon_dimensions(params: nnx.State) -> Any:
  """Input, output axes of the matrices that Muon trains, one per layer of a stack; else None."""
  numbers = lambda x: optax.contrib.MuonDimensionNumbers(x.ndim - 1, x.ndim - 2)
  return jax.tree_util.tree_map_with_path(
    lambda path, x: numbers(x) if _MATRIX.fullmatch(_name(path)) else None, params
  )


def _name(path: jax.tree_util.KeyPath) -> str:
  """The path of a parameter: "visual.blocks.attn.qkv.weight"."""
  return ".".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
