"""Cross-entropy on the answer."""

import jax.numpy as jnp

from cot_rm import schema
from cot_rm.algorithms import sft


def test_the_loss_is_the_mean_over_target_tokens_only():
  zeros = jnp.zeros((2, 3), jnp.int32)
  batch = schema.Batch(zeros, zeros, zeros, zeros, mask=jnp.array([[0.0, 1, 1], [0, 1, 0]]))
  loss, metrics = sft.loss(jnp.array([[-9.0, -1, -2], [-9, -6, -9]]), batch, sft.Config())
  assert float(loss) == 3.0 == float(metrics["train/loss"])
