"""Importance weights for the mismatch between sampler and trainer about the same policy.

The engines round differently, so that tokens come from a policy slightly off the one that is
trained. Truncated importance weights correct for it token by token
(https://fengyao.notion.site/off-policy-rl); an answer whose mean ratio is too far off is masked
out.

B rows, T tokens.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from cot_rm.algorithms import aggregation
from cot_rm.algorithms.interface import Metrics
from cot_rm.batch import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  cap: float | None  # upper bound of the weight p(trainer) / p(sampler); None: weights are 1
  low: float | None  # answers with a lower ratio are masked out; None: no bound
  high: float | None  # answers with a higher ratio are masked out; None: no bound

  def __post_init__(self) -> None:
    if self.cap is not None and self.cap <= 0:
      raise ValueError(
        f"importance_correction.Config.cap is {self.cap}; it must be above 0, or None for no "
        f"weights"
      )
    low, high = self.bounds
    if not 0 <= low < 1 < high:
      raise ValueError(
        f"importance_correction.Config.low and high are {self.low} and {self.high}; they must be "
        f"below and above 1, the ratio of an answer on which sampler and trainer agree"
      )

  @property
  def bounds(self) -> tuple[float, float]:
    """(low, high), with 0 and infinity for None."""
    return self.low or 0.0, math.inf if self.high is None else self.high

  @property
  def enabled(self) -> bool:
    """Whether anything is corrected, which takes a forward pass for the trainer's old_logps."""
    return (self.cap, self.low, self.high) != (None, None, None)


def importance_weights(batch: Batch, config: Config) -> tuple[jax.Array, Metrics]:
  """Weights of the advantages; constants to the gradient.

  To be multiplied with the advantages: for every clipped surrogate this weights the loss of each
  token, and leaves a KL term unchanged. The ratio of a token is p(trainer) / p(sampler) under the
  sampling policy; the ratio of an answer is the geometric mean of its tokens' ratios.

  Args:
    batch: with `old_logps`, log-probabilities that the trainer computed for the sampling policy,
      and `sampler_logps`, those that the sampler computed.
    config: bounds.

  Returns:
    weights_BT: f32[B, T], 0 or more; 1 at tokens outside the mask.
    metrics: "correction/factor_mean": mean weight; "correction/capped": fraction of tokens whose
      ratio is above the cap; "correction/left_out": fraction of tokens in answers that are masked
      out.

  Raises:
    ValueError: batch.old_logps or batch.sampler_logps is None.
  """
  if batch.sampler_logps is None or batch.old_logps is None:
    raise ValueError("importance weights need both batch.sampler_logps and batch.old_logps")
  log_ratio_BT = jnp.where(batch.mask > 0, batch.old_logps - batch.sampler_logps, 0.0)
  weights_BT, capped_BT = jnp.ones_like(log_ratio_BT), jnp.zeros(log_ratio_BT.shape, bool)
  if config.cap is not None:
    ratio_BT = jnp.exp(log_ratio_BT)
    weights_BT, capped_BT = jnp.minimum(ratio_BT, config.cap), ratio_BT > config.cap
  answer_ratio_BT = jnp.exp(aggregation.answer_mean(log_ratio_BT, batch))
  low, high = config.bounds
  masked_BT = (answer_ratio_BT < low) | (answer_ratio_BT > high)
  weights_BT = jnp.where(masked_BT, 0.0, weights_BT)
  return weights_BT, {
    "correction/factor_mean": aggregation.masked_mean(weights_BT, batch.mask),
    "correction/capped": aggregation.masked_mean(capped_BT, batch.mask),
    "correction/left_out": aggregation.masked_mean(masked_BT, batch.mask),
  }
