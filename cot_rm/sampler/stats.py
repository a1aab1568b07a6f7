"""Counts of the sampler's work, and the metrics computed from them."""

import dataclasses
import operator


@dataclasses.dataclass
class Stats:
  """Counts of an engine's work."""

  prompts: int = 0  # prefilled
  prompt_tokens: int = 0
  prefill_positions: int = 0  # computed for them, padding and empty rows included
  prefill_seconds: float = 0.0
  answer_tokens: int = 0
  decode_steps: int = 0  # steps times decode slots, idle ones included
  decode_seconds: float = 0.0
  samples: int = 0  # finished
  sample_tokens: int = 0  # of the finished samples
  skipped: int = 0  # samples ended or never started by early stopping of their group
  skipped_tokens: int = 0  # decoded for them
  shared_bytes: int = 0  # keys and values saved because samples share those of their prompt
  programs: int = 0  # compiled

  def __add__(self, other: "Stats") -> "Stats":
    """The sums of all counts."""
    return Stats(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))

  def metrics(self) -> dict[str, float]:
    """{"sampler/...": number}: rates, and fractions of the computed work."""
    # A skipped sample would on average have been as long as a finished one.
    saved = self.skipped * _ratio(self.sample_tokens, self.samples) - self.skipped_tokens
    return {
      "sampler/prompt_tokens_per_s": _ratio(self.prompt_tokens, self.prefill_seconds),
      "sampler/answer_tokens_per_s": _ratio(self.answer_tokens, self.decode_seconds),
      "sampler/occupancy": _ratio(self.answer_tokens, self.decode_steps),
      "sampler/padding": 1 - _ratio(self.prompt_tokens, self.prefill_positions),
      "sampler/spared": _ratio(saved, saved + self.answer_tokens),
      "sampler/spared_tokens": round(saved),
      "sampler/shared_mb": self.shared_bytes / 1e6,
      "sampler/programs": self.programs,
    }


def _ratio(part: float, total: float) -> float:
  """part / total; 0 if total is 0."""
  return part / total if total else 0.0
