"""Usage of a service (calls, tokens, dollars) and the limits on it."""

import dataclasses
from typing import Literal

Limit = Literal["calls", "tokens", "dollars"]


@dataclasses.dataclass(frozen=True)
class Usage:
  """Calls and tokens of all answers in a cache, those of earlier runs included."""

  calls: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0

  @property
  def tokens(self) -> int:
    """Prompt tokens and completion tokens together."""
    return self.prompt_tokens + self.completion_tokens

  def plus(self, prompt_tokens: int, completion_tokens: int) -> "Usage":
    """The usage after one more call with these token counts."""
    return Usage(
      self.calls + 1,
      self.prompt_tokens + prompt_tokens,
      self.completion_tokens + completion_tokens,
    )


@dataclasses.dataclass(frozen=True)
class Budget:
  """Limits on all calls of one cache, and the prices that the limit in dollars needs.

  Raises ValueError on a negative value, and on a limit in dollars without prices.
  """

  calls: int = 0  # most calls; 0: no limit
  tokens: int = 0  # most tokens, prompts and completions together; 0: no limit
  dollars: float = 0.0  # most dollars; 0: no limit
  prompt_price: float = 0.0  # dollars per million prompt tokens
  completion_price: float = 0.0  # dollars per million completion tokens

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 0:
        raise ValueError(
          f"budget.{field.name} is {getattr(self, field.name)}; it must be 0 or more, and a limit "
          "of 0 is no limit"
        )
    if self.dollars and not (self.prompt_price or self.completion_price):
      raise ValueError(
        f"budget.dollars is {self.dollars}, but budget.prompt_price and budget.completion_price "
        "are both 0, so every call would cost nothing; set the prices"
      )

  def cost(self, usage: Usage) -> float:
    """Price of this usage in dollars."""
    return (
      usage.prompt_tokens * self.prompt_price + usage.completion_tokens * self.completion_price
    ) / 1e6

  def exceeded_by_next_call(self, usage: Usage, in_flight: int) -> Limit | None:
    """The limit that one more call would exceed, or None.

    The tokens of calls in flight and of the next call are not known yet. Each is estimated by the
    mean of the finished calls.

    Args:
      usage: of all finished calls.
      in_flight: number of calls that have been sent and not been answered.
    """
    calls = usage.calls + in_flight + 1
    growth = calls / usage.calls if usage.calls else 1.0
    if self.calls and calls > self.calls:
      return "calls"
    if self.tokens and usage.tokens * growth > self.tokens:
      return "tokens"
    if self.dollars and self.cost(usage) * growth > self.dollars:
      return "dollars"
    return None
