"""Finds the pairs of one data set in another: a benchmark's items in training data.

By what they show (pictures, also encoded anew or resized) and by what they say (texts without case,
marks and white space). Ids and file names say nothing: sets are renamed and mixed.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from cot_rm import media
from cot_rm.schema import Example

NEAR = 12  # bits of 256: pictures whose prints differ in no more show the same
FLAT = 2.0  # grey levels of standard deviation; a picture below has too little in it to be known
_ROWS = 1 << 21  # comparisons at a time


class Picture(NamedTuple):
  """What tells a picture, or the middle frame of a video."""

  exact: bytes  # hash of its pixels
  shape: np.ndarray | None  # u64[4]: what is brighter than its right neighbour; None: flat


class Prints(NamedTuple):
  """What tells an example."""

  id: str
  pictures: tuple[Picture, ...]
  answers: bytes | None  # hash of the question and both answers, in any order
  caption: bytes | None  # hash of the caption of a generation task


class Match(NamedTuple):
  """The examples of a training set that show or say what an item does, by id."""

  id: str  # of the item
  picture: list[str]
  answers: list[str]
  caption: list[str]

  @property
  def contaminated(self) -> bool:
    """Whether the item was seen: its picture, or its question with both answers.

    A caption alone is not: people ask for the same pictures, and models draw others.
    """
    return bool(self.picture or self.answers)


def prints(example: Example, options: media.Options = media.DEFAULT) -> Prints:
  """The prints of an example.

  Raises:
    BadExample: a picture or video cannot be read.
  """
  name = f"example {example.id!r}"
  pictures = []
  for medium in example.media:
    if medium.kind == "image":
      pictures.append(picture(media.picture(medium.source, name=name, options=options)))
      continue
    video = media.video(medium.source, fps=medium.fps, name=name, options=options)
    (middle,) = video.read([video.count // 2])
    pictures.append(picture(middle))
  answers = None
  if example.responses:
    answers = _hash(_plain(example.question), *sorted(map(_plain, example.responses)))
  caption = _hash(_plain(example.question)) if example.generation else None
  return Prints(example.id, tuple(pictures), answers, caption)


def picture(image: Image.Image) -> Picture:
  """The prints of a picture."""
  exact = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
  small = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
  if small.std() < FLAT:
    return Picture(exact, None)
  bits = small[:, :-1] > small[:, 1:]
  return Picture(exact, np.packbits(bits).view(np.uint64))


def find(items: Sequence[Prints], training: Iterable[Prints]) -> list[Match]:
  """For each item the examples of the training data that show or say the same.

  Args:
    items: of a benchmark.
    training: of the data that a model was, or will be, trained on.
  """
  known = [*training]
  exact, answers, captions = (_by_key(known, key) for key in (_exact, _answers, _captions))
  near = _near(items, known)
  return [
    Match(
      item.id,
      _ids([exact.get(p.exact, []) for p in item.pictures] + [near.get(row, [])]),
      _ids([answers.get(item.answers, [])]) if item.answers else [],
      _ids([captions.get(item.caption, [])]) if item.caption else [],
    )
    for row, item in enumerate(items)
  ]


def _near(items: Sequence[Prints], known: Sequence[Prints]) -> dict[int, list[str]]:
  """{row of an item: ids of the examples with a picture like one of its pictures}."""
  rows, shapes_A4 = _shapes(items)
  owners, shapes_B4 = _shapes(known)
  out: dict[int, list[str]] = {}
  if not len(rows) or not len(owners):
    return out
  step = max(_ROWS // len(owners), 1)
  for start in range(0, len(rows), step):
    part = shapes_A4[start : start + step, None]
    distances = np.bitwise_count(part ^ shapes_B4[None]).sum(axis=-1, dtype=np.int32)
    for i, j in zip(*np.nonzero(distances <= NEAR), strict=True):
      out.setdefault(int(rows[start + i]), []).append(known[owners[j]].id)
  return out


def _shapes(prints: Sequence[Prints]) -> tuple[np.ndarray, np.ndarray]:
  """(i64[A], u64[A, 4]): the row of each picture that has a shape, and the shape."""
  found = [(row, p.shape) for row, one in enumerate(prints) for p in one.pictures]
  found = [(row, shape) for row, shape in found if shape is not None]
  rows = np.array([row for row, _ in found], np.int64)
  return rows, np.array([shape for _, shape in found], np.uint64).reshape(-1, 4)


def _exact(one: Prints) -> list[bytes | None]:
  return [p.exact for p in one.pictures]


def _answers(one: Prints) -> list[bytes | None]:
  return [one.answers]


def _captions(one: Prints) -> list[bytes | None]:
  return [one.caption]


def _by_key(known: Sequence[Prints], keys) -> dict[bytes, list[str]]:
  out: dict[bytes, list[str]] = {}
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
