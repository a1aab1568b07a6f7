"""Per-sample rewards: an error on one sample leaves the other samples' values alone."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from absl import logging

from cot_rm.prompts import Grammar
from cot_rm.schema import Chat, Completion, Example, Verdict

Value = TypeVar("Value")

# `ask(chats, attempt)` asks a judge model: the reply to each chat, None if there is none. Attempts
# count from 1; a chat that is asked again as another attempt may get another reply.
Ask = Callable[[Sequence[Chat], int], Sequence[str | None]]
SampleReward = Callable[[Completion, Verdict, Example, Grammar], float | str]


class Reward(Protocol):
  """Computes the values of a set of samples; all sequences have one entry per sample, in order.

  A value is a number, or the reason, in words, why the sample has no number.
  """

  def __call__(
    self,
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict],
    examples: Sequence[Example],
    grammar: Grammar,
    ask: Ask | None,
    /,
  ) -> Sequence[float | str]: ...


def per_sample(reward: SampleReward) -> Reward:
  """The Reward that applies `reward(completion, verdict, example, grammar)` to each sample."""

  def apply(
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict],
    examples: Sequence[Example],
    grammar: Grammar,
    ask: Ask | None,
  ) -> list[float | str]:
    return values(reward, completions, verdicts, examples, grammar)

  return apply


def values(
  function: Callable[[Completion, Verdict, Example, Grammar], Value],
  completions: Sequence[Completion],
  verdicts: Sequence[Verdict],
  examples: Sequence[Example],
  grammar: Grammar,
) -> list[Value | str]:
  """Applies a function to each sample; a sample on which it raises gets the error in words.

  Raises:
    Exception: the last error, if the function raises on every sample: then no sample is at fault.
  """
  out: list[Value | str] = []
  errors: list[Exception] = []
  for completion, verdict, example in zip(completions, verdicts, examples, strict=True):
    try:
      out.append(function(completion, verdict, example, grammar))
    except Exception as error:  # logged, counted by its words, raised if every sample has one
      logging.warning("%s failed on example %r: %r", function.__module__, example.id, error)
      out.append(repr(error))
      errors.append(error)
  if errors and len(errors) == len(out):
    raise errors[-1]
  return out
