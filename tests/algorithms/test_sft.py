"""Cross-entropy on the answer."""

import jax.numpy as jnp

from cot_rm.algorithms import aggregation, sft
from tests.algorithms import batches


def test_the_loss_is_the_mean_over_target_tokens_only():
  batch = batches.batch(jnp.zeros((2, 3)), jnp.zeros((2, 3)), mask=[[0, 1, 1], [0, 1, 0]])
  logps = jnp.array([[-9.0, -1, -2], [-9, -6, -9]])
  loss, metrics = sft.loss(logps, batch, aggregation.token_weights(batch, "token"))
  assert float(loss) == 3.0 == float(metrics["train/loss"])
