"""Next-token cross-entropy on the answer: -log p(y_t | x, y_<t). B sequences, T tokens."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
  pass


def loss(logps_BT, batch, weights_BT, settings):
  """Negative log-probability of the target tokens, added up by `weights_BT`.

  In nats a token where the weights are aggregation.weights(batch, "token").
  """
  del batch, settings
  nll = -(logps_BT * weights_BT).sum()
  return nll, {"train/loss": nll}
