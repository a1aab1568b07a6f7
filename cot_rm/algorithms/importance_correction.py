"""Where sampler and trainer disagree about the same policy: what its tokens still weigh.

Engines round differently, so that tokens come from a policy a little off the one that is trained.
Truncated importance weights correct for it token by token (https://fengyao.notion.site/off-policy-rl);
an answer that is too far off as a whole is left out.

B rows, T tokens.
"""

import dataclasses
import math

import jax.numpy as jnp

from cot_rm.algorithms import aggregation


@dataclasses.dataclass(frozen=True)
class Config:
  cap: float | None = None  # tokens weigh p(trainer) / p(sampler), at most this; None: they weigh 1
  low: float | None = None  # an answer whose ratio is below this is left out; None: none is
  high: float | None = None  # an answer whose ratio is above this is left out; None: none is

  def __post_init__(self):
    if self.cap is not None and self.cap <= 0:
      raise ValueError(f"config.rl.correction.cap is {self.cap}: it is above 0, or None for off")
    low, high = self.bounds
    if not 0 <= low < 1 < high:
      raise ValueError(
        f"config.rl.correction.low and high are {self.low} and {self.high}: an answer on which "
        f"both agree has ratio 1, which lies between them"
      )

  @property
  def bounds(self):
    """(low, high), where None is no bound."""
    return self.low or 0.0, math.inf if self.high is None else self.high

  @property
  def on(self):
    """Whether anything is to be corrected, which takes the trainer's log-probabilities too."""
    return self != Config()


def factors(batch, settings):
  """What to multiply the advantages with; nothing is differentiated through it.

  For any clipped surrogate this is the same as weighing each token's loss, a KL term left as it is.

  Args:
    batch: a batch.Batch with both `old_logps`, the trainer's of the policy that sampled, and
      `sampler_logps`, the sampler's own.
    settings: a Config.

  Returns:
    factors_BT: f32[B, T], 0 or more; 1 where no token counts.
    metrics: "correction/factor_mean"; "correction/capped": share of tokens whose ratio is above the
      cap; "correction/left_out": share of tokens in answers that are left out.

  An answer's ratio is the geometric mean of its tokens', exp(mean log p(trainer) / p(sampler)).
  """
  if batch.sampler_logps is None:
    raise ValueError("a correction needs batch.sampler_logps beside batch.old_logps")
  log_ratio_BT = jnp.where(batch.mask > 0, batch.old_logps - batch.sampler_logps, 0.0)
  factors_BT, capped_BT = jnp.ones_like(log_ratio_BT), jnp.zeros(log_ratio_BT.shape, bool)
  if settings.cap is not None:
    ratio_BT = jnp.exp(log_ratio_BT)
    factors_BT, capped_BT = jnp.minimum(ratio_BT, settings.cap), ratio_BT > settings.cap
  answers_BT = jnp.exp(aggregation.answer_mean(log_ratio_BT, batch))
  low, high = settings.bounds
  out_BT = (answers_BT < low) | (answers_BT > high)
  factors_BT = jnp.where(out_BT, 0.0, factors_BT)
  return factors_BT, {
    "correction/factor_mean": aggregation.mean(factors_BT, batch.mask),
    "correction/capped": aggregation.mean(capped_BT, batch.mask),
    "correction/left_out": aggregation.mean(out_BT, batch.mask),
  }
