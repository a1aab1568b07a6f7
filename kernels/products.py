"""Products of matrices inside kernels, as they all make them."""

import jax.numpy as jnp
from jax import lax

# Which axes are summed over: of the first matrix, of the second. T: it is read transposed.
NN = (((1,), (0,)), ((), ()))
NT = (((1,), (1,)), ((), ()))
TN = (((0,), (0,)), ((), ()))


def dot(a, b, how=NN):
  """f32: of bfloat16 in one pass, of float32 in as many as keep all of it.

  Both are said here, as the ambient precision of a program is not meant for its kernels.
  """
  exact = lax.Precision.HIGHEST if a.dtype == jnp.float32 else lax.Precision.DEFAULT
  return lax.dot_general(a, b, how, precision=exact, preferred_element_type=jnp.float32)
