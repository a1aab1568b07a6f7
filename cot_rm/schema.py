"""Preference pairs, sampled completions and verdicts: the public data types, validated."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

TASKS = ("image_understanding", "image_generation", "video_understanding", "video_generation")


@dataclasses.dataclass(frozen=True)
class Media:
  """One picture or one video, not opened yet.

  source of an image: a path, encoded bytes, a data URL or a PIL image. Source of a video: a folder
  of pictures, an .npy file, a video file, a tuple of image sources, or u8[frames, H, W, 3].
  """

  kind: str  # "image" or "video"
  source: Any
  fps: float | None = None  # frames per second of the frames as given; None where the file says


@dataclasses.dataclass(frozen=True)
class Example:
  """One question put to the judge, its two candidates, and which one people preferred, if known."""

  id: str
  source: str  # the data set it came from
  task: str  # one of TASKS
  question: str  # the question; for generation tasks the caption
  media: tuple[
    Media, ...
  ] = ()  # generation: candidate 1, candidate 2. Understanding: the reference
  responses: tuple[str, ...] = ()  # understanding: answer 1, answer 2. Generation: empty
  gold: int | None = None  # 1 or 2
  reasoning: str | None = None  # a reference judgement, whole: reasoning and verdict
  attempts: int | None = None  # how many tries the teacher took; None: not asked
  extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what the source adds

  @property
  def generation(self):
    """Whether the candidates are the media themselves."""
    return self.task.endswith("generation")

  def swapped(self):
    """The same question in the other order. Its reference judgement, tied to an order, is gone."""
    return dataclasses.replace(
      self,
      media=self.media[::-1] if self.generation else self.media,
      responses=self.responses[::-1],
      gold=None if self.gold is None else 3 - self.gold,
      reasoning=None,
      extra={**self.extra, "swapped": not self.extra.get("swapped", False)},
    )


@dataclasses.dataclass(frozen=True)
class Completion:
  """One sampled answer. `logps` are of the model itself: before temperature, top-p and top-k."""

  text: str
  tokens: np.ndarray  # i32[T], the end-of-turn token included where there is one
  logps: np.ndarray  # f32[T]
  finish: str  # "stop": it ended its turn; "length": it was cut at max_tokens
  label_logps: np.ndarray | None = None  # f32[T, W]: `logps` of the W label tokens at each step
  sampling_logps: np.ndarray | None = None  # f32[T]: of the distribution sampled from


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What a judgement says. `answer` is None where the text is outside its grammar."""

  answer: int | None  # 1, 2 or None
  reasoning: str = ""
  scores: tuple[tuple[str, float, float], ...] = ()  # (dimension, score of 1, score of 2)
  totals: tuple[float, float] | None = None  # the totals as written
  span: tuple[int, int] | None = None  # where in the text the verdict's digit stands
  error: str | None = None  # why answer is None
  probability: float | None = None  # P(answer), from the logits of the verdict's digit
  consistent: bool | None = None  # whether both orders name the same candidate
  votes: tuple[int, int, int] = (0, 0, 0)  # for 1, for 2, unparsable
