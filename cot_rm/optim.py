"""Optimizers: the schedule, the chain, and which parameters move."""

import re

import jax
import optax
import optax.contrib
from flax import nnx

# Matrices that map activations to activations; not embeddings, heads, norms and biases.
_MATRIX = re.compile(r".*(proj|qkv|fc\d)\.weight(\.value)?")


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
  warmup,
  decay=0.5,
  final=0.0,
  clip=1.0,
  weight_decay=0.0,
  b1=0.9,
  b2=0.98,
  muon=0.0,
  frozen,
):
  """AdamW, or Muon with AdamW, under a global-norm clip.

  Args:
    lr, steps, warmup, decay, final: see `schedule`.
    clip: bound of the gradient's global norm.
    weight_decay, b1, b2: AdamW's.
    muon: where not 0, matrices are trained by Muon at muon * lr, which fits AdamW's size of step
      (a root mean square of 0.2 lr a weight; arXiv:2502.16982), and all else by AdamW at lr.
    frozen: regular expressions; a parameter whose path ("visual.blocks.attn.qkv.weight") one of
      them matches from its start is not trained.

  Returns:
    (optax transformation at a learning rate of 1, the schedule): what the first says of a step is
    to be multiplied with what the second says of it.
  """
  rate = schedule(lr=lr, steps=steps, warmup=warmup, decay=decay, final=final)
  if muon:
    inner = optax.contrib.muon(
      muon,
      adam_learning_rate=1.0,
      adam_b1=b1,
      adam_b2=b2,
      weight_decay=weight_decay,
      adam_weight_decay=weight_decay,
      consistent_rms=0.2,
      muon_weight_dimension_numbers=_matrices,
    )
  else:
    inner = optax.adamw(1.0, b1=b1, b2=b2, weight_decay=weight_decay)
  chain = optax.chain(optax.clip_by_global_norm(clip), inner)
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
    name = _name(path)
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


def _matrices(params):
  """Which axes of a parameter Muon takes for input and output, layers apart; None for AdamW's."""
  numbers = lambda x: optax.contrib.MuonDimensionNumbers(x.ndim - 1, x.ndim - 2)
  return jax.tree_util.tree_map_with_path(
    lambda path, x: numbers(x) if _MATRIX.fullmatch(_name(path)) else None, params
  )


def _name(path):
  """ "visual.blocks.attn.qkv.weight"."""
  return ".".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
