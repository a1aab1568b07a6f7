"""Examples on disk: a TFDS data set of ArrayRecord files, read back by index. No TensorFlow needed.

Pictures are kept as encoded bytes, a video as its frames.
"""

import base64
import contextlib
import dataclasses
import io
import json
import math
import os
import pathlib
import shutil

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cot_rm import schema

_BYTES = tfds.features.Tensor(shape=(), dtype=np.object_)
_FEATURES = {
  "id": tfds.features.Text(),
  "source": tfds.features.Text(),
  "task": tfds.features.Text(),
  "question": tfds.features.Text(),
  "responses": tfds.features.Sequence(tfds.features.Text()),
  "gold": np.int64,  # 0: not known
  "reasoning": tfds.features.Text(),  # "": none
  "attempts": np.int64,  # -1: not asked
  "extra": tfds.features.Text(doc="JSON"),
  "media_kind": tfds.features.Sequence(tfds.features.Text()),
  "media_fps": tfds.features.Sequence(np.float64),  # NaN: not said
  "media_pictures": tfds.features.Sequence(np.int64),  # how many of `pictures` each one has
  "pictures": tfds.features.Sequence(_BYTES),  # encoded, of all media in order
}


class Examples(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The TFDS data set: whatever Examples it is given, split by split."""

  VERSION = tfds.core.Version("1.0.0")
  # Nothing is downloaded. Left to itself TFDS looks for checksums beside this file, and for that
  # imports importlib_resources, which it does not declare.
  url_infos = None

  def __init__(self, *, data_dir, splits):
    self._given = splits
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(_FEATURES),
      description="Questions put to a judge, with two candidates each.",
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is fetched
    return {name: self._rows(examples) for name, examples in self._given.items()}

  def _generate_examples(self):
    raise NotImplementedError("the splits are given to the constructor")

  @staticmethod
  def _rows(examples):
    # TFDS orders a split by hash of the key; reading is by index, so any fixed order will do.
    for at, example in enumerate(examples):
      yield at, _record(example)


@dataclasses.dataclass(frozen=True)
class Split:
  """The examples of one split, by index: a sequence, and a source for grain."""

  folder: str
  split: str
  _rows: object

  def __len__(self):
    return len(self._rows)

  def __getitem__(self, index):
    return _example(self._rows[index])

  def __iter__(self):
    # Python's own way, by index until an IndexError, would meet ArrayRecord's ValueError.
    return map(self.__getitem__, range(len(self)))


def write(folder, splits):
  """Writes {split: iterable of Example} to a new folder; returns {split: number of examples}.

  The folder appears only when every split is whole: what an interruption leaves behind lies beside
  it and is never read. The order within a split is fixed but not the one given. Raises
  FileExistsError where the folder is already there, ValueError naming the example whose media
  cannot be stored or whose id comes twice in one split.
  """
  folder = pathlib.Path(folder)
  if folder.exists():
    raise FileExistsError(f"{folder} already holds a data set; remove it or choose another folder")
  draft = folder.with_name(f".{folder.name}.unfinished")
  shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
  try:
    builder = Examples(
      data_dir=draft,
      splits={name: _unrepeated(examples, name) for name, examples in splits.items()},
    )
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of a download that there is not
      builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
      )
    counts = {name: builder.info.splits[name].num_examples for name in splits}
    os.replace(builder.data_dir, folder)
  finally:
    shutil.rmtree(draft, ignore_errors=True)
  return counts


def open(folder, split):
  """The examples of a split as a Split: len(), and [index] in any order.

  Raises FileNotFoundError where the folder holds no data set, ValueError naming the splits there
  are where there is no such split.
  """
  if not (pathlib.Path(folder) / "dataset_info.json").exists():
    raise FileNotFoundError(f"{folder} holds no data set: no dataset_info.json in it")
  builder = tfds.builder_from_directory(folder)
  if split not in builder.info.splits:
    raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(builder.info.splits)}")
  return Split(str(folder), split, builder.as_data_source(split))


def _unrepeated(examples, split):
  seen = set()
  for example in examples:
    if example.id in seen:
      raise ValueError(f"example {example.id!r} comes twice in split {split!r}")
    seen.add(example.id)
    yield example


def _record(example):
  media = [_encoded(example.id, one) for one in example.media]
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
    "media_kind": [one.kind for one in example.media],
    "media_fps": [math.nan if one.fps is None else one.fps for one in example.media],
    "media_pictures": [len(pictures) for pictures in media],
    "pictures": [picture for pictures in media for picture in pictures],
  }


def _example(row):
  text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
  media, at = [], 0
  for kind, fps, count in zip(
    row["media_kind"], row["media_fps"], row["media_pictures"], strict=True
  ):
    pictures, at = tuple(bytes(one) for one in row["pictures"][at : at + count]), at + count
    media.append(
      schema.Media(
        text(kind),
        pictures[0] if text(kind) == "image" else pictures,
        None if math.isnan(fps) else float(fps),
      )
    )
  return schema.Example(
    id=text(row["id"]),
    source=text(row["source"]),
    task=text(row["task"]),
    question=text(row["question"]),
    media=tuple(media),
    responses=tuple(text(one) for one in row["responses"]),
    gold=int(row["gold"]) or None,
    reasoning=text(row["reasoning"]) or None,
    attempts=None if row["attempts"] < 0 else int(row["attempts"]),
    extra=json.loads(text(row["extra"])),
  )


def _encoded(example_id, media):
  """The pictures of one medium as encoded bytes."""
  source = media.source
  if media.kind == "image":
    return [_picture(example_id, source)]
  if isinstance(source, (str, pathlib.Path)) and pathlib.Path(source).is_dir():
    source = sorted(pathlib.Path(source).iterdir())
  elif isinstance(source, (str, pathlib.Path)) and str(source).endswith(".npy"):
    source = np.load(source)
  if isinstance(source, np.ndarray):
    source = [Image.fromarray(frame) for frame in source]
  if not isinstance(source, (tuple, list)):
    raise ValueError(
      f"example {example_id!r}: a video is stored frame by frame; give its frames, "
      f"a folder of them or an .npy, not {type(source).__name__} {str(source)[:80]}"
    )
  return [_picture(example_id, frame) for frame in source]


def _picture(example_id, source):
  if isinstance(source, bytes):
    return source
  if isinstance(source, Image.Image):
    out = io.BytesIO()
    source.save(out, "PNG")
    return out.getvalue()
  if isinstance(source, str) and source.startswith("data:"):
    return base64.b64decode(source.partition(",")[2], validate=True)
  if isinstance(source, (str, pathlib.Path)):
    return pathlib.Path(source).read_bytes()
  raise ValueError(
    f"example {example_id!r}: cannot store a picture from {type(source).__name__}; "
    f"give a path, encoded bytes, a data URL or a PIL image"
  )
