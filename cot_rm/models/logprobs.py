"""Log-probabilities of a batch's tokens under a model: what every objective is made of.

B sequences, T tokens, R rows of pictures, M visual tokens, D width.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from cot_rm.kernels import token_logps as kernel


def of(model, batch):
  """f32[B, T]: log-probability of each token given what is before it; 0 at the first."""
  features_RMD = None if batch.pictures is None else model.features(batch.pictures)
  x_BTD = model.embed(batch.tokens, batch.visual, features_RMD)
  x_BTD = model.hidden(x_BTD, batch.positions, batch.segments)
  with jax.named_scope("token_logps"):
    logps_BT = kernel.token_logps(x_BTD[:, :-1], model.head, batch.tokens[:, 1:])
  return jnp.pad(logps_BT, ((0, 0), (1, 0)))


def make(graphdef):
  """`(params, batch) -> f32[B, T]`, compiled."""
  return jax.jit(lambda params, batch: of(nnx.merge(graphdef, params), batch))
