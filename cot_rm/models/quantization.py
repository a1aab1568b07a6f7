"""Eight-bit weights of the decoder, for a sampler that is bound by reading them."""

import jax.numpy as jnp
import qwix
from flax import nnx


def quantized(params: nnx.State) -> nnx.State:
  """Parameters with the decoder's matrices as qwix.QArray: int8 with a scale per output channel.

  All other parameters (embeddings, head, norms, biases, the vision tower) are unchanged.
  """

  def quantize(path: tuple[str, ...], variable: nnx.Variable) -> nnx.Variable:
    if path[0] != "layers" or path[-1] != "weight" or variable.ndim != 3:
      return variable
    return variable.replace(qwix.quantize(variable[...], jnp.int8, channelwise_axes=(0, 1)))

  return nnx.map_state(quantize, params)
