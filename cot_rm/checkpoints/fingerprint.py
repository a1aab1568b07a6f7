"""Fingerprint of a model: log-probabilities of a fixed prompt, which a damaged load changes.

T tokens, P patches, C values per patch.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cot_rm import models, sharding
from cot_rm.batch import Batch, Pictures
from cot_rm.models import logprobs, nonfinite

# Largest difference of log-probabilities of the same weights on different machines and meshes.
TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.3}
TEXT = 8  # tokens before and after the picture
SIDE = 2  # visual tokens per side of the picture


def probe(config: models.ModelConfig) -> Batch:
  """The prompt: one row of text, a picture and text, computed without random numbers."""
  c = config.vision
  merge, count = c.merge_size, SIDE**2
  special = (
    config.image_token_id,
    config.video_token_id,
    config.vision_start_token_id,
    config.vision_end_token_id,
  )
  usable = np.setdiff1d(np.arange(config.vocab_size, dtype=np.int32), special)
  text = usable[np.arange(1, 2 * TEXT + 1) * 7919 % len(usable)]
  tokens_T = np.concatenate(
    [
      text[:TEXT],
      [config.vision_start_token_id],
      [config.image_token_id] * count,
      [config.vision_end_token_id],
      text[TEXT:],
    ]
  ).astype(np.int32)
  first, T = TEXT + 1, len(tokens_T)
  visual_T = np.full(T, -1, np.int32)
  visual_T[first : first + count] = np.arange(count)
  row, column = np.divmod(np.arange(count), SIDE)
  positions_T3 = np.repeat(np.arange(T)[:, None], 3, 1)
  positions_T3[first : first + count] = first + np.stack([0 * row, row, column], 1)
  positions_T3[first + count :] += SIDE - count
  P = count * merge**2
  in_row, in_column = np.divmod(np.arange(P) % merge**2, merge)
  hw_P2 = np.stack(
    [np.repeat(row, merge**2) * merge + in_row, np.repeat(column, merge**2) * merge + in_column], 1
  )
  patches_PC = np.sin(np.arange(P * c.patch_dim, dtype=np.float32)).reshape(P, -1)
  ones_P = np.ones(P, np.int32)
  batched = lambda x: jnp.asarray(x)[None]
  return Batch(
    tokens=batched(tokens_T),
    positions=batched(positions_T3.astype(np.int32)),
    segments=batched(np.ones(T, np.int32)),
    visual=batched(visual_T),
    mask=batched(np.ones(T, np.float32)),
    pictures=Pictures(
      batched(patches_PC), batched(hw_P2.astype(np.int32)), batched(ones_P), batched(ones_P)
    ),
  )


def compute(
  family: str, config: models.ModelConfig, params: nnx.State, *, source: str = "the model"
) -> list[float]:
  """The fingerprint: float32 log-probabilities of the probe's tokens after the first.

  Runs in the parameters' dtype. The entries before the picture depend on the decoder alone.

  Args:
    family: of models.MODELS.
    config: the family's Config.
    params: of the model.
    source: begins the error: the folder.

  Raises:
    ValueError: the log-probabilities are not finite; the message names the first weight or layer.
  """
  dtype = jax.tree.leaves(params)[0].dtype
  graphdef, _ = nnx.split(
    nnx.eval_shape(lambda: models.get(family).Model(config, rngs=nnx.Rngs(0), dtype=dtype))
  )
  with jax.default_matmul_precision("highest"):
    device = next(iter(jax.tree.leaves(params)[0].devices()))
    logps_BT = np.asarray(
      _program(sharding.is_cast_on_cpu(dtype, device))(graphdef, params, probe(config))
    )
    if not np.isfinite(logps_BT).all():
      where = nonfinite.describe(graphdef, params, probe(config))
      raise ValueError(
        f"{source}: the log-probabilities of a fixed prompt are not finite in {dtype}: {where}"
      )
  return logps_BT[0, 1:].tolist()


@functools.lru_cache
def _program(keep_casts: bool) -> Callable[[nnx.GraphDef, nnx.State, Batch], jax.Array]:
  """`(graphdef, params, batch) -> f32[B, T]`, compiled, see sharding.is_cast_on_cpu."""
  options = sharding.KEEP_CASTS if keep_casts else None

  def logps(graphdef: nnx.GraphDef, params: nnx.State, batch: Batch) -> jax.Array:
    return logprobs.batch_logps(nnx.merge(graphdef, params), batch)

  return jax.jit(logps, static_argnums=0, compiler_options=options)


def check(
  found: Sequence[float], recorded: Sequence[float], dtypes: Sequence[str], source: str
) -> None:
  """Raises ValueError if two fingerprints differ by more than the coarser dtype explains.

  Args:
    found: of the loaded parameters.
    recorded: of the saved parameters.
    dtypes: of both.
    source: begins the message: the folder.
  """
  tolerance = max(TOLERANCE[dtype] for dtype in dtypes)
  if len(found) != len(recorded):
    raise ValueError(
      f"{source}: the recorded fingerprint has {len(recorded)} log-probabilities, that of the "
      f"loaded weights {len(found)}: the record is damaged or of another model"
    )
  difference = np.abs(np.asarray(found) - np.asarray(recorded)).max()
  if not difference <= tolerance:  # true of NaN, too
    raise ValueError(
      f"{source}: the fingerprint is off by {difference:.4g} (tolerance {tolerance:g} for "
      f"{' and '.join(dtypes)}): these are not the weights that were saved"
    )
