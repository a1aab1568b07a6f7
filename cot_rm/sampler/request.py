"""A request to the engine: prompts, sampling parameters and callbacks; and its samples."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from cot_rm.batch import Encoded
from cot_rm.sampler.sampling import Sampling
from cot_rm.schema import Finish


@dataclasses.dataclass(frozen=True)
class Sample:
  """One sampled answer as tokens."""

  tokens: np.ndarray  # i32[T], the stop token included if there is one
  logps: np.ndarray  # f32[T], of the model at sampling.logps_temperature, before top-p and so on
  sampling_logps: np.ndarray  # f32[T], of the distribution sampled from
  label_logps: np.ndarray  # f32[T, W], of the model, of the label tokens at each step
  top_logps: np.ndarray  # f32[T], of the model, of the likeliest token at each step
  finish: Finish  # "stop": a stop token; "length": its token limit; or as on_chunk returned


class NotFinite(FloatingPointError):
  """Logits of an answer are not finite."""

  def __init__(self, message: str, prompt: int) -> None:
    """prompt: its index in the call."""
    super().__init__(message)
    self.prompt = prompt


class OnChunk(Protocol):
  """Called after each chunk of a sample; may end it (a stop string, a cancelled request)."""

  def __call__(
    self, prompt: int, sample: int, tokens: np.ndarray, finish: Finish | None
  ) -> tuple[Finish, int] | None:
    """(finish, number of tokens to keep) to end the sample, else None.

    Args:
      prompt, sample: index of the prompt in the call, and of the sample in its group.
      tokens: i32[T], all so far.
      finish: why the sample ends after this chunk, "stop" or "length"; None: it goes on.
    """


class StopGroup(Protocol):
  """Called when a sample has ended and others of its prompt have not (early stopping)."""

  def __call__(self, prompt: int, samples: list[Sample]) -> bool:
    """Whether to skip the other samples of the prompt; `samples`: the finished ones, in order."""


@dataclasses.dataclass(frozen=True)
class Request:
  """What one call of the engine asks for; see engine.Engine."""

  prompts: Sequence[Encoded]
  seeds: Sequence[int]  # u32 per prompt
  n: int  # samples per prompt
  sampling: Sampling
  token_limits: np.ndarray  # int[prompts, n]: tokens of each sample, at most
  on_chunk: OnChunk | None = None
  stop_group: StopGroup | None = None
  progress: Callable[[int], None] | None = None

  def __post_init__(self) -> None:
    if self.n < 1:
      raise ValueError(f"n is {self.n}; it must be 1 or more")
    if len(self.seeds) != len(self.prompts):
      raise ValueError(f"{len(self.seeds)} seeds for {len(self.prompts)} prompts")
    if np.shape(self.token_limits) != (len(self.prompts), self.n):
      raise ValueError(
        f"token_limits has shape {np.shape(self.token_limits)} for {len(self.prompts)} prompts "
        f"with {self.n} samples each"
      )
    limits = np.asarray(self.token_limits)
    if limits.size and not 1 <= limits.min() <= limits.max() <= self.sampling.max_tokens:
      raise ValueError(
        f"token_limits are {limits.min()} to {limits.max()}; they must be 1 to max_tokens, "
        f"{self.sampling.max_tokens}: the KV cache has no positions for more"
      )
