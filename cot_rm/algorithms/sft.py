"""Next-token cross-entropy on the answer: -log p(y_t | x, y_<t). B sequences, T tokens."""

import jax

from cot_rm.algorithms.interface import Array, Metrics
from cot_rm.batch import Batch


def loss(logps_BT: jax.Array, batch: Batch, weights_BT: Array) -> tuple[jax.Array, Metrics]:
  """(negative log-probability of the target tokens, summed by `weights_BT`, metrics).

  With the weights aggregation.token_weights(batch, "token") the loss is in nats per token.
  """
  del batch
  nll = -(logps_BT * weights_BT).sum()
  return nll, {"train/loss": nll}
