"""Where numbers stop being finite: the weight, or the first part of the model, in words."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm import models
from cot_rm.batch import Batch

MOST = 4  # weights that are named


def describe(graphdef: nnx.GraphDef, params: nnx.State, batch: Batch) -> str:
  """Names the weights that are not finite, or else the first part of the model that is not.

  Args:
    graphdef: of the model, a Model of a family in cot_rm.models.
    params: of the model.
    batch: the input; of a batch with `prompts`, these are computed.
  """
  if names := weights(params):
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"weights that are not finite: {', '.join(names[:MOST])}{more}"
  found = jax.device_get(_parts(graphdef, params, batch.prompts or batch))
  for part in ("pictures", "embeddings"):
    if not found[part]:
      return f"the weights are finite; the first numbers that are not are those of the {part}"
  for layer, fine in enumerate(found["layers"]):
    if not fine:
      # Keys and values of layer i are made from the output of layer i - 1.
      where = f"the output of layer {layer - 1}" if layer else "keys and values of layer 0"
      return (
        f"the weights are finite; the first numbers that are not are in {where} of the decoder: "
        "its activations overflow the compute dtype, or its weights are too large"
      )
  if not found["hidden"]:
    return "the weights are finite; the first numbers that are not are those of the last layer"
  return (
    "the weights are finite, and so are the hidden states of the prompt: the head overflows, or "
    "the tokens after the prompt do"
  )


def weights(params: nnx.State) -> list[str]:
  """Names of the weights that are not finite; of a stack with its first such layer."""
  flat = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(params)}
  found: Mapping[str, np.ndarray] = jax.device_get(
    _finite_rows({name: variable.get_value() for name, variable in flat.items()})
  )
  names = []
  for name, fine in found.items():
    if not np.all(fine):
      stacked = flat[name].get_metadata().get("axes", ())[:1] == ("layers",)
      names.append(f"{name}, layer {int(np.argmin(fine))}" if stacked else name)
  return names


@jax.jit
def _finite_rows(arrays: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
  """Of each array whether its slices along the first axis are finite."""
  leaf = lambda x: jnp.isfinite(x).all(axis=tuple(range(1, x.ndim)))
  return {name: leaf(x) for name, x in arrays.items()}


@functools.partial(jax.jit, static_argnums=0)
def _parts(graphdef: nnx.GraphDef, params: nnx.State, batch: Batch) -> dict[str, jax.Array]:
  """{part of the model: whether its numbers are finite}; "layers" is one per layer's keys."""
  model: models.Model = nnx.merge(graphdef, params)
  features = None if batch.pictures is None else model.features(batch.pictures)
  x_BTD = model.embed(batch.tokens, batch.visual, features)
  hidden_BTD, keys_values = model.prefill(x_BTD, batch.positions, batch.segments)
  layers = [jnp.isfinite(x).all(axis=tuple(range(1, x.ndim))) for x in keys_values]
  return {
    "pictures": jnp.array(True) if features is None else jnp.isfinite(features).all(),
    "embeddings": jnp.isfinite(x_BTD).all(),
    "layers": layers[0] & layers[1],
    "hidden": jnp.isfinite(hidden_BTD).all(),
  }
