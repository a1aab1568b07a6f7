"""Several candidates for one question, to be ranked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from cot_rm.schema import (
  BadExample,
  Example,
  ImageSource,
  Media,
  Task,
  VideoSource,
  as_media,
  shorten,
)


@dataclasses.dataclass(frozen=True)
class Candidates:
  """One question to the judge, and N candidates of which it finds the best.

      Candidates.images("a red star", ["a.png", "b.png", "c.png"])
      Candidates.videos("a cat jumps", ["a.mp4", "b.mp4", "c.mp4"])
      Candidates.answers("How many cats?", ["two", "three", "four"], media="cats.png")

  As in an Example, in generation tasks the candidates are the media; in understanding tasks they
  are the responses, and the media are what the question is about.

  Raises:
    BadExample: fewer than two candidates, or what Example refuses in a pair of them, by the id.
    TypeError: as Example does.
  """

  id: str  # names the candidates in errors
  task: Task
  question: str  # for generation tasks the caption
  media: tuple[Media, ...] = ()
  responses: tuple[str, ...] = ()  # understanding tasks: the answers

  def __post_init__(self) -> None:
    if isinstance(self.responses, str):
      raise TypeError(f"candidates {self.id!r}: responses must be several texts; found one")
    if len(self) < 2:
      raise BadExample(f"candidates {self.id!r}: two or more are needed; got {len(self)}")
    for at in range(1, len(self)):  # Example checks what it is made of
      self.pair(at - 1, at)

  def __len__(self) -> int:
    """N, the number of candidates."""
    return len(self.media if self._generation else self.responses)

  def pair(self, first: int, second: int) -> Example:
    """The pair of two candidates by their indices, from 0: `first` is its candidate 1."""
    places = first, second
    return Example(
      f"{self.id} [{first}, {second}]",
      "user",
      self.task,
      self.question,
      tuple(self.media[at] for at in places) if self._generation else self.media,
      () if self._generation else tuple(self.responses[at] for at in places),
    )

  @property
  def _generation(self) -> bool:
    return str(self.task).endswith("generation")

  @classmethod
  def images(
    cls, caption: str, images: Sequence[Media | ImageSource], *, id: str = ""
  ) -> Candidates:
    """Generated images: which one shows the caption best?

    Args:
      caption: the text that the images were generated from.
      images: the candidates: Media, or sources as Media takes them.
      id: names the candidates in errors; "": the beginning of the caption.
    """
    shown = tuple(as_media(one, "image") for one in images)
    return cls(id or shorten(caption), "image_generation", caption, shown)

  @classmethod
  def videos(
    cls,
    caption: str,
    videos: Sequence[Media | VideoSource],
    *,
    fps: float | None = None,
    id: str = "",
  ) -> Candidates:
    """Generated videos: which one shows the caption best?

    Args:
      caption: the text that the videos were generated from.
      videos: the candidates, as Example.videos takes each.
      fps: frames per second of the given frames; None: as the files say.
      id: names the candidates in errors; "": the beginning of the caption.
    """
    shown = tuple(as_media(one, "video", fps) for one in videos)
    return cls(id or shorten(caption), "video_generation", caption, shown)

  @classmethod
  def answers(
    cls,
    question: str,
    answers: Sequence[str],
    *,
    media: Media | ImageSource | list[Media | ImageSource] | tuple[Media | ImageSource, ...] = (),
    id: str = "",
  ) -> Candidates:
    """Answers to a question about images or videos: which one is best?

    Args:
      question: the question that the texts answer.
      answers: the candidates.
      media: what the question is about, as in Example.answers.
      id: names the candidates in errors; "": the beginning of the question.

    Raises:
      TypeError: one text in place of several.
    """
    if isinstance(answers, str):
      raise TypeError("answers must be several texts; found one")
    if len(answers) < 2:
      raise BadExample(f"candidates {id or shorten(question)!r}: two or more are needed")
    pair = Example.answers(question, answers[0], answers[1], media=media, id=id)
    return cls(pair.id, pair.task, question, pair.media, tuple(answers))
