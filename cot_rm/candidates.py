"""Several candidates for one question, to be ranked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from cot_rm.schema import (
  BadExample,
  Example,
  ImageSource,
  Media,
  VideoSource,
  as_media,
  mixture,
  shorten,
)


@dataclasses.dataclass(frozen=True)
class Candidates:
  """One question to the judge, and N candidates of which it finds the best.

      Candidates.images("a red star", ["a.png", "b.png", "c.png"])
      Candidates.videos("a cat jumps", ["a.mp4", "b.mp4", "c.mp4"])
      Candidates.answers("How many cats?", ["two", "three", "four"], media="cats.png")
      Candidates.mixed([Media("image", "cat.png"), "Make it black."], edits)  # [Media(...), ...]

  Raises:
    BadExample: fewer than two candidates, or what Example refuses in a pair of them, by the id.
    TypeError: as Example.mixed does; or one text in place of several candidates.
  """

  id: str  # names the candidates in errors
  question: mixture.Mixture  # what the candidates were made for: text, Media, or both in order
  candidates: tuple[mixture.Mixture, ...]

  def __post_init__(self) -> None:
    _check_several(self.candidates, self.id)
    if len(self) < 2:
      raise BadExample(f"candidates {self.id!r}: two or more are needed; got {len(self)}")
    for at in range(1, len(self)):  # Example checks what it is made of
      self.pair(at - 1, at)

  def __len__(self) -> int:
    """N, the number of candidates."""
    return len(self.candidates)

  def pair(self, first: int, second: int) -> Example:
    """The pair of two candidates by their indices, from 0: `first` is its candidate 1."""
    return Example.mixed(
      self.question,
      self.candidates[first],
      self.candidates[second],
      id=f"{self.id} [{first}, {second}]",
    )

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
    _check_several(images, id or shorten(caption))
    shown = tuple(as_media(one, "image") for one in images)
    return cls(id or shorten(caption), caption, shown)

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
    _check_several(videos, id or shorten(caption))
    shown = tuple(as_media(one, "video", fps) for one in videos)
    return cls(id or shorten(caption), caption, shown)

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
    """
    _check_several(answers, id or shorten(question))
    given = media if isinstance(media, list | tuple) else (media,)
    shown = [as_media(one, "image") for one in given]
    return cls(id or shorten(question), [*shown, question], tuple(answers))

  @classmethod
  def mixed(
    cls, question: mixture.Mixture, candidates: Sequence[mixture.Mixture], *, id: str = ""
  ) -> Candidates:
    """Candidates that mix texts and media, or that were made from media, such as edits.

    Args:
      question: what the candidates were made for: a text, Media, or a sequence of both, in order.
      candidates: likewise, each.
      id: names the candidates in errors; "": the beginning of the question's text.
    """
    name = id or shorten(mixture.lay_out(question)[0])
    _check_several(candidates, name)
    return cls(name, question, tuple(candidates))


def _check_several(given: object, name: str) -> None:
  """Raises TypeError for one text, one path or one medium in place of several candidates."""
  if isinstance(given, str | bytes | os.PathLike | Media):
    kind = "text or path" if isinstance(given, str) else type(given).__name__
    raise TypeError(f"candidates {name!r}: several are needed; found one {kind}")
