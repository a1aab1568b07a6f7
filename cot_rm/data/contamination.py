"""Finds the pairs of one data set in another: a benchmark's items in training data.

By what they show (pictures, also encoded anew or resized) and by what they say (texts without case,
marks and white space). Ids and file names say nothing: sets are renamed and mixed. Pictures with
little in them (a small shape on white) are much alike, and known by their exact pixels alone.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from cot_rm import media
from cot_rm.schema import Example, Media

NEAR = 24  # bits of 512: pictures whose shapes differ in no more show the same
FAINT = 2  # grey levels; neighbours that differ by no more are equal to the eye
DETAIL = 64  # neighbours of 256 that differ by more; a picture of fewer has no shape to be known by
TELLING = 40  # letters and digits of both answers; shorter ones are given about many pictures
_ROWS = 1 << 21  # comparisons at a time


class Picture(NamedTuple):
  """What tells a picture, or the middle frame of a video."""

  exact: bytes  # hash of its pixels
  # u64[8]: what is visibly brighter than its right neighbour, and what is visibly darker; None:
  # there is too little in the picture, see DETAIL.
  shape: np.ndarray | None


class Prints(NamedTuple):
  """What tells an example."""

  id: str
  pictures: tuple[Picture, ...]
  answers: bytes | None  # hash of the question and both answers, in any order
  short: bytes | None  # the same, of texts that do not tell it: see TELLING
  caption: bytes | None  # hash of the caption of a generation task


class Match(NamedTuple):
  """The examples of a training set that show or say what an item does, by id."""

  id: str  # of the item
  picture: list[str]
  answers: list[str]
  short: list[str]  # the question and both answers are the same, and the answers tell nothing
  caption: list[str]

  @property
  def contaminated(self) -> bool:
    """Whether the item was seen: its picture, or its question with both answers.

    A caption alone is not: people ask for the same pictures, and models draw others. Nor is a
    question with short answers: "Is there a dog?", yes or no, is asked about many pictures.
    """
    return bool(self.picture or self.answers)


def prints(
  example: Example,
  options: media.Options = media.DEFAULT,
  known: dict[str, Picture] | None = None,
) -> Prints:
  """The prints of an example.

  Args:
    example: a pair.
    options: how media are opened.
    known: {path: prints} of files that other examples have shown, to which its own are added: the
      pairs of a benchmark may show one video ten times. None: nothing is kept.

  Raises:
    BadExample: a picture or video cannot be read.
  """
  known = {} if known is None else known
  pictures = tuple(_shown(m, f"example {example.id!r}", options, known) for m in example.media)
  question, answers = _plain(example.question), sorted(map(_plain, example.responses))
  said = _hash(question, *answers) if answers else None
  telling = all(answers) and (not pictures or sum(map(len, answers)) >= TELLING)
  caption = _hash(question) if example.generation else None
  return Prints(example.id, pictures, said if telling else None, None if telling else said, caption)


def _shown(medium: Media, name: str, options: media.Options, known: dict[str, Picture]) -> Picture:
  """The prints of a picture, or of the middle frame of a video."""
  path = medium.source if isinstance(medium.source, str) and media.is_path(medium.source) else ""
  if path in known:
    return known[path]
  if medium.kind == "image":
    found = picture(media.picture(medium.source, name=name, options=options))
  else:
    video = media.video(medium.source, fps=medium.fps, name=name, options=options)
    (middle,) = video.read([video.count // 2])
    found = picture(middle)
  if path:
    known[path] = found
  return found


def picture(image: Image.Image) -> Picture:
  """The prints of a picture."""
  exact = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
  small = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
  steps = small[:, :-1] - small[:, 1:]
  if (np.abs(steps) > FAINT).sum() < DETAIL:
    return Picture(exact, None)
  # Equal neighbours have neither bit: noise of an encoder on plain ground changes nothing.
  return Picture(exact, np.packbits([steps > FAINT, steps < -FAINT]).view(np.uint64))


def find(items: Sequence[Prints], training: Iterable[Prints]) -> list[Match]:
  """For each item the examples of the training data that show or say the same.

  Args:
    items: of a benchmark.
    training: of the data that a model was, or will be, trained on.
  """
  known = [*training]
  exact = _by_key(known, lambda one: [p.exact for p in one.pictures])
  answers = _by_key(known, lambda one: [one.answers])
  short = _by_key(known, lambda one: [one.short])
  captions = _by_key(known, lambda one: [one.caption])
  near = _near(items, known)
  return [
    Match(
      item.id,
      _ids([exact.get(p.exact, []) for p in item.pictures] + [near.get(row, [])]),
      _ids([answers.get(item.answers, [])]),
      _ids([short.get(item.short, [])]),
      _ids([captions.get(item.caption, [])]),
    )
    for row, item in enumerate(items)
  ]


def _near(items: Sequence[Prints], known: Sequence[Prints]) -> dict[int, list[str]]:
  """{row of an item: ids of the examples with a picture like one of its pictures}."""
  rows, shapes_A8 = _shapes(items)
  owners, shapes_B8 = _shapes(known)
  out: dict[int, list[str]] = {}
  if not len(rows) or not len(owners):
    return out
  # Pairs of one benchmark share pictures: each is compared once.
  shapes_I8, of_A = np.unique(shapes_A8, axis=0, return_inverse=True)
  shapes_J8, of_B = np.unique(shapes_B8, axis=0, return_inverse=True)
  ids_J: list[list[str]] = [[] for _ in shapes_J8]
  for owner, j in zip(owners, of_B.ravel(), strict=True):
    ids_J[j].append(known[owner].id)
  near_I: list[list[str]] = [[] for _ in shapes_I8]
  step = max(_ROWS // len(shapes_J8), 1)
  for start in range(0, len(shapes_I8), step):
    part = shapes_I8[start : start + step, None]
    distances = np.bitwise_count(part ^ shapes_J8[None]).sum(axis=-1, dtype=np.int32)
    for i, j in zip(*np.nonzero(distances <= NEAR), strict=True):
      near_I[start + i] += ids_J[j]
  for row, i in zip(rows.tolist(), of_A.ravel(), strict=True):
    if near_I[i]:
      out[row] = out.get(row, []) + near_I[i]
  return out


def _shapes(prints: Sequence[Prints]) -> tuple[np.ndarray, np.ndarray]:
  """(i64[A], u64[A, 8]): the row of each picture that has a shape, and the shape."""
  found = [(row, p.shape) for row, one in enumerate(prints) for p in one.pictures]
  found = [(row, shape) for row, shape in found if shape is not None]
  rows = np.array([row for row, _ in found], np.int64)
  return rows, np.array([shape for _, shape in found], np.uint64).reshape(-1, 8)


def _by_key(
  known: Sequence[Prints], keys: Callable[[Prints], Iterable[bytes | None]]
) -> dict[bytes | None, list[str]]:
  out: dict[bytes | None, list[str]] = {}
  for one in known:
    for key in keys(one):
      if key is not None:
        out.setdefault(key, []).append(one.id)
  return out


def _ids(lists: Iterable[Iterable[str]]) -> list[str]:
  return [*dict.fromkeys(id for ids in lists for id in ids)]


def _plain(text: str) -> str:
  """The letters and digits of a text, of all scripts, without case."""
  return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _hash(*texts: str) -> bytes:
  return hashlib.sha256("\0".join(texts).encode()).digest()
