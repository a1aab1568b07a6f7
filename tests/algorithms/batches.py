"""Batches of a few numbers, for losses that look at nothing else."""

import jax.numpy as jnp

from cot_rm.batch import Batch


def batch(old, advantages, mask=None, ref=None, segments=None, sampler=None):
  """A Batch from nested lists; without `mask` every token counts, without `segments` a row is one
  answer."""
  old = jnp.asarray(old, jnp.float32)
  like = lambda x: None if x is None else jnp.asarray(x, jnp.float32)
  zeros = jnp.zeros(old.shape, jnp.int32)
  return Batch(
    tokens=zeros,
    positions=zeros,
    segments=zeros + 1 if segments is None else jnp.asarray(segments, jnp.int32),
    visual=zeros,
    mask=jnp.ones_like(old) if mask is None else like(mask),
    old_logps=old,
    sampler_logps=like(sampler),
    ref_logps=like(ref),
    advantages=like(advantages),
  )


# The worked example of arXiv:2505.02835: log-probabilities of four tokens now and when sampled.
PUBLISHED_LOGPS = [[-0.1, -0.1, -0.1, -0.1]]
PUBLISHED = ([[-10, -0.2, -0.2, -5]], [[-1, -1, 0.5, -0.5]])
PLAIN_LOSSES = [19930.37, 1.105, -0.5526, 67.14]
