"""One example on its way into a data set: checked, its media shrunk or sampled, and encoded."""

import dataclasses
import io
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, get_args

from PIL import Image

from cot_rm import files, media, prompts, registry
from cot_rm.batch import Size
from cot_rm.data import array_record, identity
from cot_rm.schema import BadExample, BadMedia, BadRecord, Chat, Example, ImageSource, Media

Check = Literal["decode", "header"]
Videos = Literal["file", "frames"]
References = Literal["check", "keep", "drop"]

TEMPORAL = 2  # frames of a patch of a video

# Why an example is left out: what was being looked at.
REASONS = ("record", "gold", "reference", "media", "length", "repeated")


class Processor(Protocol):
  """Of a model: the lengths of prompts and answers."""

  def measure(self, messages: Chat, *, id: str) -> Size:
    """The lengths of an encoded prompt."""

  def encode(self, text: str) -> list[int]:
    """The tokens of a text."""


@dataclasses.dataclass(frozen=True)
class Rules:
  """What examples must be, and how their media are stored."""

  check: Check = "decode"  # of pictures and videos: all pixels that a model sees, or "header"
  needs_gold: bool = True  # an example without a gold answer is left out
  # "check": a reference outside the grammar, or whose verdict is not the gold answer, leaves its
  # example out; "keep": references are not looked at; "drop": such a reference is left out alone.
  references: References = "check"
  videos: Videos = "file"  # store video files as they are, or as the "frames" that a model samples
  max_pixels: int = 0  # larger pictures and frames are shrunk to this area; 0: stored as they are
  quality: int = 95  # of pictures that are encoded anew: JPEG, 1 to 100; 0: PNG
  fps: float = 2.0  # of sampled frames
  max_frames: int = 768  # sampled frames of a video
  video: media.VideoRules = media.VideoRules()  # which frames are sampled
  max_tokens: int = 0  # of prompt and reference, by the processor
  max_patches: int = 0  # of the prompt's pictures, by the processor
  options: media.Options = media.DEFAULT  # how media are opened

  def __post_init__(self) -> None:
    for name, kind in (("check", Check), ("videos", Videos), ("references", References)):
      value, known = getattr(self, name), get_args(kind)
      if value not in known:
        raise ValueError(f"{name} is {value!r}; {registry.hint(value, known)}")
    if not 0 <= self.quality <= 100:
      raise ValueError(f"quality is {self.quality}; JPEG has 1 to 100, and 0 stands for PNG")
    if self.max_pixels < 0:
      raise ValueError(f"max_pixels is {self.max_pixels}; it must be 0 or more")


class Taken(NamedTuple):
  """An example that can be stored."""

  id: str
  group: str  # hash of what examples of one group share: the pictures, or the caption
  stored: array_record.Stored


class Left(NamedTuple):
  """An example that is left out."""

  id: str
  reason: str  # of REASONS
  error: BadExample


def examine(
  read: Callable[[], Example],
  place: str,
  rules: Rules,
  grammar: prompts.Grammar,
  processor: Processor | None,
) -> Taken | Left:
  """Reads and checks an example, and encodes it with its media; nothing of it is kept after.

  Args:
    read: gives the example.
    place: names the example where its record cannot be read.
    rules: see Rules.
    grammar: of the references, and of the prompts whose lengths are checked.
    processor: of the model whose prompts are measured; None: lengths are not checked.
  """
  reason, id = "record", place
  try:
    example = read()
    id = example.id
    array_record.check_storable(dataclasses.replace(example, media=()))
    grammar.render(example)
    reason = "gold"
    if rules.needs_gold and example.gold is None:
      raise BadRecord(f"example {id!r} has no gold answer; give one, or set needs_gold to False")
    reason = "reference"
    example = _with_checked_reference(example, rules, grammar)
    reason = "media"
    example = dataclasses.replace(
      example, media=tuple(_stored(medium, rules, f"example {id!r}") for medium in example.media)
    )
    _check_difference(example)
    reason = "length"
    if processor is not None:
      _check_lengths(example, rules, grammar, processor)
    reason = "media"
    stored = array_record.serialize(example, options=rules.options)
    return Taken(id, group_of(example), stored)
  except BadExample as error:
    return Left(id, reason, error)


def renamed(taken: Taken, id: str) -> Taken:
  """The same example under another id."""
  example = array_record.deserialize(taken.stored.data)
  return Taken(id, taken.group, array_record.serialize(dataclasses.replace(example, id=id)))


def group_of(example: Example) -> str:
  """Hash of what related examples share: the media of a question, or the caption of media."""
  asked = example.media_of[0]
  if not asked:
    return files.digest(example.question.encode())
  return files.digest(*(identity.content_hash(medium.source).encode() for medium in asked))


def _check_difference(example: Example) -> None:
  """Raises BadMedia where the pictures or videos that are compared are the same."""
  if example.generation:
    (first,), (second,) = example.media_of[1:]
    if identity.content_hash(first.source) == identity.content_hash(second.source):
      raise BadMedia(f"example {example.id!r}: both candidates are the same {first.kind}")


def _with_checked_reference(example: Example, rules: Rules, grammar: prompts.Grammar) -> Example:
  if not example.reasoning or rules.references == "keep":
    return example
  verdict = grammar.parse(example.reasoning, example.task)
  if verdict.answer is None:
    fault = f"is outside the grammar: {verdict.error}"
  elif example.gold not in (None, verdict.answer):
    fault = f"prefers {verdict.answer}, and the gold answer is {example.gold}"
  else:
    return example
  if rules.references == "drop":
    return dataclasses.replace(example, reasoning=None)
  raise BadRecord(
    f"example {example.id!r}: its reference {fault}; change the grammar, or set references to "
    f"'drop' or 'keep'"
  )


def _check_lengths(
  example: Example, rules: Rules, grammar: prompts.Grammar, processor: Processor
) -> None:
  size = processor.measure(grammar.render(example), id=example.id)
  answer = len(processor.encode(example.reasoning)) + 1 if example.reasoning else 0
  for unit, count, limit, knob in (
    ("tokens of prompt and reference", size.tokens + answer, rules.max_tokens, "tokens"),
    ("patches", size.patches, rules.max_patches, "patches"),
  ):
    if count > limit:
      raise BadExample(
        f"example {example.id!r}: {count:,} {unit} > {limit:,}; raise config.buckets.{knob} or "
        f"lower config.processor.max_pixels"
      )


def _stored(medium: Media, rules: Rules, name: str) -> Media:
  """The medium as bytes, checked: a picture file, the frames of a video, or a video file."""
  if medium.kind == "image":
    return dataclasses.replace(medium, source=_picture(medium.source, rules, name))
  given = media.frame_sources(medium.source, name=name, options=rules.options)
  if given is not None:  # frames, which are stored as they are
    frames = [_picture(given[i], rules, f"{name}: frame {i}") for i in range(len(given))]
    return dataclasses.replace(medium, source=tuple(frames))
  video = media.video(medium.source, name=name, options=rules.options)
  numbers, fps = _sampled(video, medium, rules, name)
  if rules.videos == "frames":
    frames = [_encoded(_shrunk(frame, rules), rules) for frame in video.read(numbers)]
    sizes = {
      key: value for key, value in (medium.settings or {}).items() if key not in media.CHOICES
    }
    return dataclasses.replace(medium, source=tuple(frames), fps=fps, settings=sizes or None)
  if rules.check == "decode":
    for _ in video.read(numbers):
      pass
  return medium  # `serialize` reads the file


def _sampled(video: media.Video, medium: Media, rules: Rules, name: str) -> tuple[list[int], float]:
  return media.sampled_frames(
    video,
    {**(medium.settings or {}), **({} if medium.fps is None else {"fps": medium.fps})},
    rules=rules.video,
    fps=rules.fps,
    max_frames=rules.max_frames,
    multiple=TEMPORAL,
    name=name,
  )


def _picture(source: ImageSource, rules: Rules, name: str) -> bytes:
  """The bytes of a picture file; as they are, unless it is larger than it may be."""
  encoded = media.encoded_picture(source, name=name, options=rules.options)
  width, height = media.picture_size(encoded, name=name, options=rules.options)
  too_large = rules.max_pixels and width * height > rules.max_pixels
  if rules.check == "header" and not too_large:
    return encoded
  picture = media.picture(encoded, name=name, options=rules.options)
  return _encoded(_shrunk(picture, rules), rules) if too_large else encoded


def _shrunk(picture: Image.Image, rules: Rules) -> Image.Image:
  area = picture.width * picture.height
  if not rules.max_pixels or area <= rules.max_pixels:
    return picture
  scale = (rules.max_pixels / area) ** 0.5
  size = max(int(picture.width * scale), 1), max(int(picture.height * scale), 1)
  return picture.resize(size, Image.Resampling.BICUBIC)


def _encoded(picture: Image.Image, rules: Rules) -> bytes:
  out = io.BytesIO()
  if rules.quality:
    picture.save(out, "JPEG", quality=rules.quality, subsampling=0)
  else:
    picture.save(out, "PNG")
  return out.getvalue()
