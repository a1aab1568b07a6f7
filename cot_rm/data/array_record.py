"""Examples on disk: a TFDS data set of ArrayRecord files, read by index, without TensorFlow.

Pictures are stored as encoded bytes, a video as its encoded frames.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from cot_rm import files, media
from cot_rm.schema import Example, Media

Row = Mapping[str, object]  # as TFDS reads it: values of _FEATURES

_BYTES = tfds.features.Tensor(shape=(), dtype=np.object_)
_FEATURES = {
  "id": tfds.features.Text(),
  "source": tfds.features.Text(),
  "task": tfds.features.Text(),
  "question": tfds.features.Text(),
  "responses": tfds.features.Sequence(tfds.features.Text()),
  "gold": np.int64,  # 0: unknown
  "reasoning": tfds.features.Text(),  # "": none
  "attempts": np.int64,  # -1: unknown
  "extra": tfds.features.Text(doc="JSON"),
  "media_kind": tfds.features.Sequence(tfds.features.Text()),
  "media_fps": tfds.features.Sequence(np.float64),  # NaN: unknown
  "media_pictures": tfds.features.Sequence(np.int64),  # number of `pictures` of each medium
  "pictures": tfds.features.Sequence(_BYTES),  # encoded, of all media in order
}


class Examples(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The TFDS data set of given Examples, split by split."""

  VERSION = tfds.core.Version("1.0.0")
  # Nothing is downloaded. By default TFDS looks for checksums beside this file, which imports
  # importlib_resources, a package that it does not declare.
  url_infos = None

  def __init__(self, *, data_dir: str | os.PathLike, splits: Mapping[str, Iterable[Example]]):
    self._examples = splits
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(_FEATURES),
      description="Questions put to a judge, with two candidates each.",
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is fetched
    return {name: self._rows(examples) for name, examples in self._examples.items()}

  def _generate_examples(self):
    raise NotImplementedError("the splits are given to the constructor")

  @staticmethod
  def _rows(examples: Iterable[Example]) -> Iterator[tuple[int, Row]]:
    # TFDS orders a split by hash of the key: examples are read by index, in any fixed order.
    for key, example in enumerate(examples):
      yield key, _to_row(example)


@dataclasses.dataclass(frozen=True)
class Split(Sequence[Example]):
  """The examples of one split, by index: a sequence, and a source for grain."""

  folder: str
  split: str
  _rows: Sequence[Row]

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Example:
    return _to_example(self._rows[index])

  def __iter__(self) -> Iterator[Example]:
    # Python's default, by index until an IndexError, would meet ArrayRecord's ValueError.
    return map(self.__getitem__, range(len(self)))

  def identity(self) -> str:
    """A hash of the split's files: no example is read."""
    shards = sorted(pathlib.Path(self.folder).glob(f"*-{self.split}.array_record*"))
    return files.digest(*(files.content_hash(shard).encode() for shard in shards))


def write(folder: str | os.PathLike, splits: Mapping[str, Iterable[Example]]) -> dict[str, int]:
  """Writes splits of Examples to a new folder; returns the number of examples of each split.

  The folder appears only when every split is complete; an interrupted run leaves a hidden folder
  beside it, which is never read. The order within a split is fixed, but not the given one.

  Raises FileExistsError if the folder exists, ValueError naming an example whose media cannot be
  stored or whose id occurs twice in a split.
  """
  folder = pathlib.Path(folder)
  if folder.exists():
    raise FileExistsError(f"{folder} already holds a data set; remove it or choose another folder")
  draft = folder.with_name(f".{folder.name}.unfinished")
  shutil.rmtree(draft, ignore_errors=True)  # of an interrupted run
  try:
    builder = Examples(
      data_dir=draft,
      splits={name: _unrepeated(examples, name) for name, examples in splits.items()},
    )
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download, and there is none
      builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
      )
    counts = {name: builder.info.splits[name].num_examples for name in splits}
    os.replace(builder.data_dir, folder)
  finally:
    shutil.rmtree(draft, ignore_errors=True)
  return counts


def open(folder: str | os.PathLike, split: str) -> Split:  # pylint: disable=redefined-builtin
  """The examples of a split.

  Raises FileNotFoundError if the folder holds no data set, ValueError naming the known splits if
  the split is unknown.
  """
  if not (pathlib.Path(folder) / "dataset_info.json").exists():
    raise FileNotFoundError(f"{folder} holds no data set: no dataset_info.json in it")
  builder = tfds.builder_from_directory(folder)
  if split not in builder.info.splits:
    raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(builder.info.splits)}")
  return Split(str(folder), split, builder.as_data_source(split))


def _unrepeated(examples: Iterable[Example], split: str) -> Iterator[Example]:
  seen = set()
  for example in examples:
    if example.id in seen:
      raise ValueError(f"example {example.id!r} comes twice in split {split!r}")
    seen.add(example.id)
    yield example


def _to_row(example: Example) -> Row:
  pictures = [_encoded(medium, f"example {example.id!r}") for medium in example.media]
  return {
    "id": example.id,
    "source": example.source,
    "task": example.task,
    "question": example.question,
    "responses": list(example.responses),
    "gold": example.gold or 0,
    "reasoning": example.reasoning or "",
    "attempts": -1 if example.attempts is None else example.attempts,
    "extra": json.dumps(dict(example.extra)),
    "media_kind": [medium.kind for medium in example.media],
    "media_fps": [math.nan if medium.fps is None else medium.fps for medium in example.media],
    "media_pictures": [len(of_medium) for of_medium in pictures],
    "pictures": [picture for of_medium in pictures for picture in of_medium],
  }


def _encoded(medium: Media, name: str) -> list[bytes]:
  if medium.kind == "image":
    return [media.encoded_picture(medium.source, name=name)]
  return media.encoded_frames(medium.source, name=name)


def _to_example(row: Row) -> Example:
  return Example(
    id=_text(row["id"]),
    source=_text(row["source"]),
    task=_text(row["task"]),
    question=_text(row["question"]),
    media=tuple(_media(row)),
    responses=tuple(_text(response) for response in row["responses"]),
    gold=int(row["gold"]) or None,
    reasoning=_text(row["reasoning"]) or None,
    attempts=None if row["attempts"] < 0 else int(row["attempts"]),
    extra=json.loads(_text(row["extra"])),
  )


def _media(row: Row) -> Iterator[Media]:
  columns = row["media_kind"], row["media_fps"], row["media_pictures"]
  at = 0
  for kind, fps, count in zip(*columns, strict=True):
    pictures = tuple(bytes(picture) for picture in row["pictures"][at : at + count])
    at += count
    source = pictures[0] if _text(kind) == "image" else pictures
    yield Media(_text(kind), source, None if math.isnan(fps) else float(fps))


def _text(value: bytes | str) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)
