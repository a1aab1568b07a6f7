"""Optimizers: the schedule, the chain, and which parameters move."""

import re

import jax
import optax
from flax import nnx


def schedule(*, lr, steps, warmup, decay, final):
  """Learning rate by step: up from 0 over `warmup` steps, level, then down over the last `decay`.

  Args:
    lr: peak learning rate.
    steps: steps in all.
    warmup: steps of warm-up.
    decay: the share of the steps, at the end, in which a cosine takes it from lr to final * lr.
    final: what is left at the end, as a share of lr.
  """
  falling = max(int(decay * steps), 1)
  level = max(steps - falling, warmup + 1)
  return optax.join_schedules(
    [
      optax.linear_schedule(0.0, lr, max(warmup, 1)),
      optax.constant_schedule(lr),
      optax.cosine_decay_schedule(lr, falling, alpha=final),
    ],
    [warmup, level],
  )


def make(
  *,
  lr,
  steps,
  warmup=50,
  decay=0.5,
  final=0.0,
  clip=1.0,
  weight_decay=0.0,
  b1=0.9,
  b2=0.98,
  frozen=(),
):
  """AdamW under a global-norm clip.

  Args:
    lr, steps, warmup, decay, final: see `schedule`.
    clip: bound of the gradient's global norm.
    weight_decay, b1, b2: AdamW's.
    frozen: regular expressions; a parameter whose path ("visual.blocks.attn.qkv.weight") one of
      them matches from its start is not trained.

  Returns:
    (optax transformation, the schedule).
  """
  rate = schedule(lr=lr, steps=steps, warmup=warmup, decay=decay, final=final)
  chain = optax.chain(
    optax.clip_by_global_norm(clip), optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay)
  )
  if frozen:
    chain = optax.partition(
      {"train": chain, "freeze": optax.set_to_zero()}, lambda params: labels(params, frozen)
    )
  return chain, rate


def labels(params, frozen):
  """What happens to every parameter: "freeze" or "train".

  Raises ValueError on a pattern that matches nothing.
  """
  used = set()

  def label(path, variable):
    name = ".".join(str(getattr(key, "key", key)) for key in path)
    hits = [pattern for pattern in frozen if re.match(pattern, name)]
    used.update(hits)
    value = "freeze" if hits else "train"
    return variable.replace(value) if isinstance(variable, nnx.Variable) else value

  tree = jax.tree_util.tree_map_with_path(
    label, params, is_leaf=lambda x: isinstance(x, nnx.Variable)
  )
  if unused := set(frozen) - used:
    raise ValueError(f"this stage's optim.frozen: {sorted(unused)} match no parameter")
  return tree
