"""The vision check: do the pictures of a batch change the policy's log-probabilities?

B sequences, T tokens.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import logging
from flax import nnx

from cot_rm.algorithms import aggregation
from cot_rm.batch import Batch

BLIND = 1e-6  # nats per token: below, the forward pass does not read the pictures at all
WEAK = 1e-2  # nats per token: below, the policy hardly uses them


def logp_shift(
  logps: Callable[[nnx.State, Batch], jax.Array], params: nnx.State, batch: Batch
) -> float:
  """Mean absolute change of the log-probability of a token, in nats, when pictures are blanked.

  A policy that cannot see fails silently: it can learn the form of a judgement without pictures.

  Args:
    logps: `(params, batch) -> f32[B, T]`, as train.make_logps makes it.
    params: of the policy.
    batch: groups of answers with their prompts (packing.groups).

  Returns:
    The shift; NaN for a batch without pictures.

  Raises:
    RuntimeError: the shift is below BLIND.
  """
  prompts = batch.prompts
  if prompts is None or prompts.pictures is None:
    return float("nan")
  blank = dataclasses.replace(prompts.pictures, patches=jnp.zeros_like(prompts.pictures.patches))
  blind = dataclasses.replace(batch, prompts=dataclasses.replace(prompts, pictures=blank))
  shift_BT = jnp.abs(logps(params, batch) - logps(params, blind))
  shift = float(aggregation.masked_mean(shift_BT, batch.mask))
  if shift < BLIND:
    raise RuntimeError(
      f"blanking the pictures moves the log-probabilities by {shift:.1e} nats per token: the "
      f"training forward pass does not read them"
    )
  if shift < WEAK:
    logging.warning("blank pictures hardly matter to the policy: %.1e nats per token", shift)
  return shift
