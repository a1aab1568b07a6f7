"""Next-token cross-entropy on the answer: -log p(y_t | x, y_<t). B sequences, T tokens."""

import dataclasses

from cot_rm.algorithms import masked


@dataclasses.dataclass(frozen=True)
class Config:
  pass


def loss(logps_BT, batch, settings):
  """Mean negative log-probability of a target token."""
  del settings
  nll = -masked.mean(logps_BT, batch.mask)
  return nll, {"train/loss": nll}
