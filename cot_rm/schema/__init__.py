"""Preference pairs, sampled completions and verdicts: the public data types, validated.

T tokens of a completion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np

from cot_rm import registry
from cot_rm.schema import mixture
from cot_rm.schema.medium import KINDS as KINDS
from cot_rm.schema.medium import MEDIA_SETTINGS as MEDIA_SETTINGS
from cot_rm.schema.medium import ImageSource, Kind, Media, VideoSource
from cot_rm.schema.medium import media_setting_fault as media_setting_fault

Task = Literal["image_understanding", "image_generation", "video_understanding", "video_generation"]
Choice = Literal[1, 2]  # the first or the second candidate
CHOICES: tuple[Choice, ...] = get_args(Choice)
Finish = Literal["stop", "length", "cancelled"]

TASKS: tuple[Task, ...] = get_args(Task)
FINISHES: tuple[Finish, ...] = get_args(Finish)

# A chat as transformers and OpenAI clients write it: {"role": ..., "content": text or parts}, where
# a part is {"type": "text", "text": ...}, {"type": "image", "image": ...} or
# {"type": "video", "video": ..., "fps": ...}.
Message = Mapping[str, object]
Chat = Sequence[Message]


class BadExample(ValueError):
  """An example that cannot be used: its record, its media, its text or its length is at fault.

  The message begins with the name of the example. A run may leave such an example out and go on
  and count it; every other error ends it.
  """


class BadRecord(BadExample):
  """A record that is no example, or a wrong one; names the file and the row."""


class BadMedia(BadExample):
  """A picture or video that cannot be read."""


def check_text(text: str, where: str) -> None:
  """Raises BadExample, which begins with `where`, if the text has half a character in it.

  Such a lone surrogate is half of an emoji that was cut; no tokenizer and no file takes it.
  """
  try:
    text.encode("utf-8")
  except UnicodeEncodeError as error:
    near = text[max(error.start - 20, 0) : error.start]
    raise BadExample(
      f"{where}: the text has the lone surrogate {text[error.start]!r} at character "
      f"{error.start:,}, after {near!r}: half of an emoji; take it out"
    ) from error


@dataclasses.dataclass(frozen=True)
class Example:
  """One question to the judge, its two candidates, and the preferred candidate, if known.

      Example.images("a red star", "a.png", "b.png")
      Example.videos("a cat jumps", "a.mp4", "b.mp4")
      Example.answers("How many cats are there?", "two", "three", media="cats.png")
      Example.mixed([source, "Make the cat black."], edited, edited_otherwise)

  In generation tasks the candidates are the two media; in understanding tasks they are the two
  responses, and the media are what the question is about. Where question and candidates mix texts
  and media, `places` says where each medium stands.

  Raises:
    BadExample: an unknown task or gold, candidates that no judge could compare, or places that do
      not fit the texts and media, by the id.
    TypeError: a question or a response that is no text, or media that are no Media.
  """

  id: str  # names the example in errors and records
  source: str  # the data set it came from
  task: Task
  question: str  # for generation tasks the caption
  media: tuple[Media, ...] = ()
  responses: tuple[str, ...] = ()  # understanding tasks: answer 1 and answer 2
  gold: Choice | None = None  # the preferred candidate; None: unknown
  reasoning: str | None = None  # a whole reference judgement: reasoning and verdict
  attempts: int | None = None  # how many attempts the teacher needed; None: unknown
  extra: Mapping[str, object] = dataclasses.field(default_factory=dict)  # the data set's own fields
  # Of the question, of candidate 1 and of candidate 2: how many characters of its text stand before
  # each of its media. `media` has them in this order. (): no candidate mixes texts and media, and
  # the media of a question come before its text.
  places: tuple[tuple[int, ...], ...] = ()

  def __post_init__(self) -> None:
    where = f"example {self.id!r}"
    if self.task not in TASKS:
      raise BadExample(f"{where}: unknown task {self.task!r}; {registry.hint(self.task, TASKS)}")
    if self.gold not in (1, 2, None):
      raise BadExample(f"{where}: gold is {self.gold!r}; it must be 1, 2 or None")
    for name, texts in (("question", [self.question]), ("responses", self.responses)):
      for text in texts:
        if not isinstance(text, str):
          raise TypeError(f"{where}: {name} must be text, not {type(text).__name__}")
    for media in self.media:
      if not isinstance(media, Media):
        raise TypeError(f"{where}: media must be a tuple of Media; found {type(media).__name__}")
    texts = (self.question, *(self.responses or ("", "")))
    if self.places and (fault := mixture.fault(texts, self.places, len(self.media))):
      raise BadExample(f"{where}: {fault}")
    if not self.generation:
      if len(self.responses) not in (0, 2):
        raise BadExample(f"{where}: {self.task} needs two responses; got {len(self.responses)}")
      return
    if self.responses:
      raise BadExample(
        f"{where}: {self.task} compares its media and takes no responses; got {len(self.responses)}"
      )
    kind = self.task.split("_")[0]
    found = [media.kind for of in self.media_of[1:] for media in of]
    if self.media and found != [kind, kind]:
      raise BadExample(
        f"{where}: {self.task} compares two media of kind {kind!r}; got {', '.join(found)}"
      )

  @property
  def generation(self) -> bool:
    """Whether the candidates are the media themselves."""
    return self.task.endswith("generation")

  @property
  def tie(self) -> bool:
    """Whether people call the candidates equal: there is no gold answer, and `extra` says why."""
    return self.gold is None and self.extra.get("tie") is True

  @property
  def media_of(self) -> tuple[tuple[Media, ...], tuple[Media, ...], tuple[Media, ...]]:
    """The media of the question, of candidate 1 and of candidate 2."""
    if self.places:
      first, second = len(self.places[0]), len(self.places[0]) + len(self.places[1])
    else:
      first, second = (0, 1) if self.generation else (len(self.media), len(self.media))
    return self.media[:first], self.media[first:second], self.media[second:]

  @property
  def pieces(self) -> tuple[tuple[str | Media, ...], ...]:
    """The question, candidate 1 and candidate 2: their texts and media in their order.

    Where the media are not kept, as in a log of answers, the texts alone.
    """
    texts = (self.question, *(self.responses or ("", "")))
    places = (self.media and self.places) or tuple((0,) * len(of) for of in self.media_of)
    return tuple(map(mixture.pieces_of, texts, self.media_of, places))

  @classmethod
  def images(
    cls,
    caption: str,
    first: Media | ImageSource,
    second: Media | ImageSource,
    *,
    id: str = "",
    gold: Choice | None = None,
  ) -> Example:
    """A pair of generated images: which one shows the caption better?

    Args:
      caption: the text that both images were generated from.
      first, second: the candidates: Media, or sources as Media takes them.
      id: names the example in errors and records; "": the beginning of the caption.
      gold: the preferred candidate, 1 or 2, if known.
    """
    media = as_media(first, "image"), as_media(second, "image")
    return cls(id or shorten(caption), "user", "image_generation", caption, media, gold=gold)

  @classmethod
  def videos(
    cls,
    caption: str,
    first: Media | VideoSource,
    second: Media | VideoSource,
    *,
    fps: float | None = None,
    id: str = "",
    gold: Choice | None = None,
  ) -> Example:
    """A pair of generated videos: which one shows the caption better?

    Args:
      caption: the text that both videos were generated from.
      first, second: the candidates: video files, folders of frames, sequences of images,
        u8[frames, H, W, 3] or Media.
      fps: frames per second of the given frames; None: as the files say.
      id: names the example in errors and records; "": the beginning of the caption.
      gold: the preferred candidate, 1 or 2, if known.
    """
    media = as_media(first, "video", fps), as_media(second, "video", fps)
    return cls(id or shorten(caption), "user", "video_generation", caption, media, gold=gold)

  @classmethod
  def answers(
    cls,
    question: str,
    first: str,
    second: str,
    *,
    media: Media | ImageSource | list[Media | ImageSource] | tuple[Media | ImageSource, ...] = (),
    id: str = "",
    gold: Choice | None = None,
  ) -> Example:
    """A pair of answers to a question about images or videos: which one is better?

    Args:
      question: the question that both texts answer.
      first, second: the candidates.
      media: what the question is about, one item, a list or a tuple: Media, or sources of images.
        A video needs Media("video", ...).
      id: names the example in errors and records; "": the beginning of the question.
      gold: the preferred candidate, 1 or 2, if known.
    """
    given = media if isinstance(media, list | tuple) else (media,)
    shown = tuple(as_media(one, "image") for one in given)
    video = any(one.kind == "video" for one in shown)
    task: Task = "video_understanding" if video else "image_understanding"
    return cls(id or shorten(question), "user", task, question, shown, (first, second), gold)

  @classmethod
  def mixed(
    cls,
    question: mixture.Mixture,
    first: mixture.Mixture,
    second: mixture.Mixture,
    *,
    id: str = "",
    gold: Choice | None = None,
  ) -> Example:
    """A pair of candidates that mix texts and media, or that were made from media.

    The task is generation if each candidate is one image, or one video, without text: an edit of
    the question's media. Else it is understanding, and the candidates are answers. A pair that
    `images`, `videos` or `answers` makes is the same as theirs.

    Args:
      question: what both candidates were made for: a text, Media, or a sequence of both, in order.
        A string is a text, also if it is the name of a file.
      first, second: the candidates, likewise.
      id: names the example in errors and records; "": the beginning of the question's text.
      gold: the preferred candidate, 1 or 2, if known.
    """
    texts, media, places = zip(*map(mixture.lay_out, (question, first, second)), strict=True)
    every = tuple(medium for of in media for medium in of)
    kinds = {medium.kind for of in media[1:] for medium in of}
    generation = not any(texts[1:]) and len(kinds) == 1 and [*map(len, media[1:])] == [1, 1]
    video = "video" in (kinds if generation else {medium.kind for medium in every})
    kind: Kind = "video" if video else "image"
    plain = not media[0] if generation else not (any(places[0]) or media[1] or media[2])
    return cls(
      id or shorten(texts[0]),
      "user",
      f"{kind}_{'generation' if generation else 'understanding'}",  # type: ignore[arg-type]
      texts[0],
      every,
      () if generation else texts[1:],
      gold,
      places=() if plain else places,
    )

  def swapped(self) -> Example:
    """The example with its candidates exchanged; without `reasoning`, as it is of the old order."""
    exchanged: Mapping[Choice | None, Choice | None] = {1: 2, 2: 1, None: None}
    asked, first, second = self.media_of
    return dataclasses.replace(
      self,
      media=(*asked, *second, *first),
      responses=self.responses[::-1],
      places=self.places[:1] + self.places[:0:-1],
      gold=exchanged[self.gold],
      reasoning=None,
      extra={**self.extra, "swapped": not self.extra.get("swapped", False)},
    )


@dataclasses.dataclass(frozen=True)
class Completion:
  """One sampled answer.

  `label_logps` and `top_logps` are of the model itself, over its whole vocabulary, before
  temperature, top-p and top-k; `logps` too, but at the temperature
  sampling.Sampling.logps_temperature, which RL trains at.
  """

  text: str
  tokens: np.ndarray  # i32[T], with the end-of-turn token where the model ended its turn
  logps: np.ndarray  # f32[T]
  finish: Finish  # "stop": the model ended its turn; "length": the answer was cut at max_tokens
  label_logps: np.ndarray | None = None  # f32[T, 2]: of the tokens "1" and "2" at each step
  sampling_logps: np.ndarray | None = None  # f32[T]: of the distribution that was sampled from
  top_logps: np.ndarray | None = None  # f32[T]: of the likeliest token at each step

  def __post_init__(self) -> None:
    if self.finish not in FINISHES:
      hint = registry.hint(self.finish, FINISHES)
      raise ValueError(f"Completion: unknown finish {self.finish!r}; {hint}")


@dataclasses.dataclass(frozen=True)
class Sheet:
  """The scores and sums that a reasoning writes down."""

  scores: tuple[tuple[str, float, float], ...]  # (dimension, score of 1, score of 2), as written
  addends: tuple[tuple[float, ...], tuple[float, ...]] | None  # the terms of each total
  totals: tuple[float, float] | None  # the totals as written
  faults: tuple[str, ...]  # wrong nouns, gaps and repetitions, in words


TIE = "a tie"  # Verdict.error of a judgement that calls the candidates equal


@dataclasses.dataclass(frozen=True)
class Verdict:
  """One judgement as its grammar parses it. `answer` is None where the text is outside of it."""

  answer: Choice | None
  reasoning: str = ""
  sheet: Sheet | None = None  # the scores; None where the grammar has none or answer is None
  span: tuple[int, int] | None = None  # characters of the text that hold the verdict's digit
  error: str | None = None  # why answer is None
  probability: float | None = None  # P(answer), from the logits of the verdict's digit
  # Of all the model's probability at this digit the part of "1" and "2" together, which
  # `probability` divides among them; and whether one of them is the likeliest token there.
  label_mass: float | None = None
  label_top: bool | None = None

  @property
  def tie(self) -> bool:
    """Whether the judgement calls the candidates equal, where the grammar knows ties."""
    return self.error == TIE

  @property
  def scores(self) -> tuple[tuple[str, float, float], ...]:
    """(dimension, score of candidate 1, score of candidate 2) of each dimension."""
    return self.sheet.scores if self.sheet else ()

  @property
  def totals(self) -> tuple[float, float] | None:
    """The total scores of both candidates as the reasoning writes them."""
    return self.sheet.totals if self.sheet else None


class Judged(Protocol):
  """The completions of one example in one order, each with its verdict."""

  @property
  def example(self) -> Example: ...

  @property
  def completions(self) -> Sequence[Completion]: ...

  @property
  def verdicts(self) -> Sequence[Verdict]: ...


class Votes(NamedTuple):
  """How many judgements named candidate 1, candidate 2, and neither."""

  first: int = 0
  second: int = 0
  unparsable: int = 0


@dataclasses.dataclass(frozen=True)
class PairVerdict:
  """The judge's decision about one pair: all votes of the orders that were asked."""

  answer: Choice | None  # the majority of the parsable votes; None: no vote was parsable
  probability: float | None = None  # P(answer), the mean over all parsable votes, at least 0.5
  votes: Votes = Votes()  # of both orders, about the pair as given
  consistent: bool | None = None  # both orders prefer the same candidate; None: one order asked
  reasoning: str = ""  # of the first judgement, of the pair as given, that ends in the answer
  scores: tuple[tuple[str, float, float], ...] = ()  # (dimension, score of 1, score of 2) in it
  totals: tuple[float, float] | None = None  # the total scores in it, as written
  error: str | None = None  # why answer is None


def as_media(
  value: Media | ImageSource | VideoSource, kind: Kind, fps: float | None = None
) -> Media:
  """Media as given, or those of a source of the kind."""
  return value if isinstance(value, Media) else Media(kind, value, fps)


def shorten(text: str, length: int = 40) -> str:
  """The beginning of a text, in one line."""
  line = " ".join(str(text).split())  # Example itself refuses a question that is no text
  return line if len(line) <= length else f"{line[: length - 3]}..."
