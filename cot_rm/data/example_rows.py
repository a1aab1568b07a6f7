"""Rows of the store: an Example as TFDS features, with its media as bytes, and back.

A picture is a picture file, a video its frames as picture files, or a video file.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cot_rm import media
from cot_rm.data import identity
from cot_rm.schema import BadMedia, BadRecord, Example, ImageSource, Media

Row = Mapping[str, object]  # as TFDS writes and reads it: values of FEATURES

_BYTES = tfds.features.Tensor(shape=(), dtype=np.object_)
FEATURES = tfds.features.FeaturesDict(
  {
    "id": tfds.features.Text(),
    "hash": tfds.features.Text(),  # identity.example_hash
    "source": tfds.features.Text(),
    "task": tfds.features.Text(),
    "question": tfds.features.Text(),
    "responses": tfds.features.Sequence(tfds.features.Text()),
    "gold": np.int64,  # 0: unknown
    "reasoning": tfds.features.Text(),  # "": none
    "attempts": np.int64,  # -1: unknown
    "extra": tfds.features.Text(doc="JSON"),
    "media_kind": tfds.features.Sequence(tfds.features.Text()),
    "media_form": tfds.features.Sequence(tfds.features.Text()),  # picture, frames or file
    "media_fps": tfds.features.Sequence(np.float64),  # NaN: unknown
    # "": none. "place": [0 to 2, characters], see Example.places: of which text, and where in it.
    "media_settings": tfds.features.Sequence(tfds.features.Text(doc="JSON")),
    "media_pictures": tfds.features.Sequence(np.int64),  # number of `pictures` of each medium
    "pictures": tfds.features.Sequence(_BYTES),  # encoded, of all media in order
  }
)


def to_row(example: Example, *, options: media.Options = media.DEFAULT) -> Row:
  """The row of an example, with the bytes of its media, which are opened by `options`.

  Raises BadExample, naming the example, if its media have no bytes, or a field is no JSON or text.
  """
  name = f"example {example.id!r}"
  stored = [_stored(medium, name, options) for medium in example.media]
  row = _text_columns(example, name)
  sources = [pictures if form == "frames" else pictures[0] for form, pictures in stored]
  pairs = zip(example.media, sources, strict=True)
  read = [dataclasses.replace(medium, source=source) for medium, source in pairs]
  return row | {
    "hash": identity.example_hash(dataclasses.replace(example, media=tuple(read))),
    "media_kind": [medium.kind for medium in example.media],
    "media_form": [form for form, _ in stored],
    "media_fps": [math.nan if medium.fps is None else medium.fps for medium in example.media],
    "media_settings": _settings(example),
    "media_pictures": [len(pictures) for _, pictures in stored],
    "pictures": [picture for _, pictures in stored for picture in pictures],
  }


def check_storable(example: Example, *, options: media.Options = media.DEFAULT) -> None:
  """Raises BadExample, naming the example, if `to_row` would; nothing is decoded or fetched."""
  name = f"example {example.id!r}"
  _text_columns(example, name)
  for medium in example.media:
    if medium.kind == "image":
      _check_source(medium.source, name, options)
    elif not (media.is_url(medium.source) and options.http):
      frames = media.frame_sources(medium.source, name=name, options=options)
      for frame in () if frames is None else frames:  # None: a file, and it is there
        _check_source(frame, name, options)


def to_example(row: Row) -> Example:
  """The example of a row, also of one that an older version wrote."""
  # Older rows have no settings.
  texts = map(_text, row.get("media_settings", [""] * len(row["media_kind"])))
  settings = [json.loads(text) if text else {} for text in texts]
  places = [own.pop("place", None) for own in settings]
  return Example(
    id=_text(row["id"]),
    source=_text(row["source"]),
    task=_text(row["task"]),
    question=_text(row["question"]),
    media=tuple(_media(row, settings)),
    responses=tuple(_text(response) for response in row["responses"]),
    gold=int(row["gold"]) or None,
    reasoning=_text(row["reasoning"]) or None,
    attempts=None if row["attempts"] < 0 else int(row["attempts"]),
    extra=json.loads(_text(row["extra"])),
    places=tuple(tuple(at for of, at in places if of == text) for text in range(3))
    if any(places)
    else (),
  )


def _text_columns(example: Example, name: str) -> dict[str, object]:
  """The columns of a row but for the media, checked."""
  try:
    extra = json.dumps(dict(example.extra))
  except (TypeError, ValueError) as error:
    raise BadRecord(f"{name}: a value under `extra` is not JSON: {error}") from error
  row = {
    "id": example.id,
    "source": example.source,
    "task": example.task,
    "question": example.question,
    "responses": list(example.responses),
    "gold": example.gold or 0,
    "reasoning": example.reasoning or "",
    "attempts": -1 if example.attempts is None else example.attempts,
    "extra": extra,
  }
  for column in ("id", "source", "question", "responses", "reasoning"):
    values = row[column] if column == "responses" else [row[column]]
    for text in values:
      try:
        text.encode()
      except UnicodeEncodeError as error:
        raise BadRecord(
          f"{name}: {column} has half a character at {error.start}, {text[error.start]!r}, which "
          f"is no UTF-8; replace it in the data"
        ) from error
  return row


def _check_source(source: ImageSource, name: str, options: media.Options) -> None:
  """Raises BadMedia if there are no bytes of a picture to take."""
  if media.is_path(source):
    path = media.local_path(source, name=name)
    if not path.is_file() or not os.access(path, os.R_OK):
      raise BadMedia(f"{name}: {str(path)!r} does not exist or cannot be read")
  elif media.is_url(source) and options.http:
    return
  elif not isinstance(source, Image.Image | np.ndarray):
    media.encoded_picture(source, name=name, options=options)


def _stored(medium: Media, name: str, options: media.Options) -> tuple[str, Sequence[bytes]]:
  """(form, its bytes) of a medium."""
  if medium.kind == "image":
    return "picture", [media.encoded_picture(medium.source, name=name, options=options)]
  file = media.video_bytes(medium.source, name=name, options=options)
  if file is not None:
    return "file", [file]
  return "frames", media.encoded_frames(medium.source, name=name, options=options)


def _settings(example: Example) -> list[str]:
  """The settings of each medium, with its place in a pair that mixes texts and media; as JSON."""
  places = [(text, at) for text, of_text in enumerate(example.places) for at in of_text]
  own = [dict(medium.settings or {}) for medium in example.media]
  if places:
    own = [{**one, "place": place} for one, place in zip(own, places, strict=True)]
  return [json.dumps(one) if one else "" for one in own]


def _media(row: Row, settings: Sequence[dict[str, float]]) -> Iterator[Media]:
  kinds = [_text(kind) for kind in row["media_kind"]]
  # Older rows have no forms: their videos are frames.
  forms = row.get("media_form", ["picture" if kind == "image" else "frames" for kind in kinds])
  columns = kinds, forms, row["media_fps"], settings, row["media_pictures"]
  at = 0
  for kind, form, fps, own, count in zip(*columns, strict=True):
    pictures = tuple(bytes(picture) for picture in row["pictures"][at : at + count])
    at += count
    source = pictures if _text(form) == "frames" else pictures[0]
    yield Media(kind, source, None if math.isnan(fps) else float(fps), own or None)


def _text(value: bytes | str) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)
