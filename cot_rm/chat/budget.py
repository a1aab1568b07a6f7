"""What calls may cost, and what they have cost."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Spent:
  """What the answers in a cache have cost, whenever they were asked."""

  calls: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0

  @property
  def tokens(self):
    return self.prompt_tokens + self.completion_tokens

  def plus(self, prompt_tokens, completion_tokens):
    """The same with one more call."""
    return Spent(
      self.calls + 1,
      self.prompt_tokens + prompt_tokens,
      self.completion_tokens + completion_tokens,
    )


@dataclasses.dataclass(frozen=True)
class Budget:
  """Limits on all the calls in one cache, and the prices that the limit in money needs."""

  calls: int = 0  # most calls; 0: no limit
  tokens: int = 0  # most tokens, of prompts and answers together; 0: no limit
  dollars: float = 0.0  # most money; 0: no limit
  prompt_price: float = 0.0  # dollars for a million tokens of prompt
  completion_price: float = 0.0  # dollars for a million tokens of answer

  def __post_init__(self):
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 0:
        raise ValueError(f"budget.{field.name} is {getattr(self, field.name)}; 0 is no limit")
    if self.dollars and not (self.prompt_price or self.completion_price):
      raise ValueError(
        f"budget.dollars is {self.dollars}, but without budget.prompt_price and "
        "budget.completion_price nothing costs anything"
      )

  def cost(self, spent):
    """Dollars."""
    return (
      spent.prompt_tokens * self.prompt_price + spent.completion_tokens * self.completion_price
    ) / 1e6

  def full(self, spent, in_flight):
    """The limit ("calls", "tokens", "dollars") that one more call would break; None where none.

    What the calls in flight and the new one will cost is not known before they end: they are taken
    to cost what the calls so far did on average.
    """
    calls = spent.calls + in_flight + 1
    growth = calls / spent.calls if spent.calls else 1.0
    if self.calls and calls > self.calls:
      return "calls"
    if self.tokens and spent.tokens * growth > self.tokens:
      return "tokens"
    if self.dollars and self.cost(spent) * growth > self.dollars:
      return "dollars"
    return None
