"""What the sampler has done: counts, and the metrics made of them."""

import dataclasses


@dataclasses.dataclass
class Figures:
  """What an engine has done since it was last asked."""

  prompts: int = 0  # that were read
  prompt_tokens: int = 0
  prompt_room: int = 0  # positions that were computed for them, padding and empty rows included
  prompt_seconds: float = 0.0
  answer_tokens: int = 0
  answer_room: int = 0  # steps of all slots
  answer_seconds: float = 0.0
  samples: int = 0  # that have ended
  sample_tokens: int = 0  # of these
  spared: int = 0  # samples that nobody needed any more
  spared_tokens: int = 0  # that they had
  shared_bytes: int = 0  # of keys and values that samples of a prompt did not need of their own
  programs: int = 0  # compiled

  def metrics(self):
    """{"sampler/...": number}: rates, and shares of what was computed."""
    share = lambda part, whole: part / whole if whole else 0.0
    # What is spared would have been as long as the others.
    saved = self.spared * share(self.sample_tokens, self.samples) - self.spared_tokens
    return {
      "sampler/prompt_tokens_per_s": share(self.prompt_tokens, self.prompt_seconds),
      "sampler/answer_tokens_per_s": share(self.answer_tokens, self.answer_seconds),
      "sampler/occupancy": share(self.answer_tokens, self.answer_room),
      "sampler/padding": 1 - share(self.prompt_tokens, self.prompt_room),
      "sampler/spared": share(saved, saved + self.answer_tokens),
      "sampler/spared_tokens": round(saved),
      "sampler/shared_mb": self.shared_bytes / 1e6,
      "sampler/programs": self.programs,
    }
