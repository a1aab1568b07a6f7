"""Examples on disk: a TFDS data set of ArrayRecord files, read by index, without TensorFlow."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source, array_record_module

from cot_rm import files, media, records
from cot_rm.data import example_rows
from cot_rm.schema import BadExample, BadRecord, Example

SHARD_BYTES = 256 << 20  # of the examples between two commits, about
NAME = "examples"  # of the TFDS data set

check_storable = example_rows.check_storable


@dataclasses.dataclass(frozen=True)
class Split(Sequence[Example]):
  """The examples of one split, by index: a sequence, and a source for grain."""

  folder: str
  split: str
  _rows: Sequence[example_rows.Row]

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Example:
    return example_rows.to_example(self._rows[index])

  def __iter__(self) -> Iterator[Example]:
    # Python's default, by index until an IndexError, would meet ArrayRecord's ValueError.
    return map(self.__getitem__, range(len(self)))

  def identity(self) -> str:
    """A hash of the split's examples, which its writer left, or of its files: none is read."""
    written = pathlib.Path(self.folder) / files.IDENTITY
    if written.exists() and (found := json.loads(written.read_text()).get(self.split)):
      return found
    shards = sorted(pathlib.Path(self.folder).glob(f"*-{self.split}.array_record*"))
    return files.digest(*(files.content_hash(shard).encode() for shard in shards))


class Stored(NamedTuple):
  """An example as it is stored, with its media."""

  mark: str  # hash of the example with its id
  data: bytes


@dataclasses.dataclass
class _Shard:
  """A file of one split that is being written."""

  writer: array_record_module.ArrayRecordWriter
  count: int = 0
  size: int = 0  # bytes of its examples


class Writer:
  """Writes splits, in the given order, to a folder that appears when `finish` is called.

  `commit` ends the files that are being written and saves the caller's state. A writer of the same
  folder continues behind the last commit of one that was killed: what came later is not read.

  Args:
    folder: of the data set; must not exist.
    shard_bytes: see `full`.

  Raises FileExistsError if the folder exists.
  """

  def __init__(self, folder: str | os.PathLike, *, shard_bytes: int = SHARD_BYTES):
    self._folder, self._shard_bytes = pathlib.Path(folder), shard_bytes
    if self._folder.exists():
      raise FileExistsError(
        f"{folder} already holds a data set; remove it or choose another folder"
      )
    self.draft = draft_folder(folder)
    self._open: dict[str, _Shard] = {}
    self._complete: dict[str, list[list[int]]] = {}  # of each split [examples, bytes] of its files
    self._identity: dict[str, str] = {}  # of each split
    self.state: Mapping[str, object] = {}  # of the last commit
    progress = self.draft / "progress.json"
    if progress.exists():
      saved = json.loads(progress.read_text())
      self._complete, self.state = saved["shards"], saved["state"]
      self._identity = saved["identity"]
    self.draft.mkdir(parents=True, exist_ok=True)
    self._remove_uncommitted()

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_: object) -> None:
    for shard in self._open.values():
      shard.writer.close()
    self._open = {}

  def add(self, split: str, example: Stored) -> None:
    """Appends an example, as `serialize` gives it, to a split."""
    if split not in self._open:
      path = self._path(split, len(self._complete.get(split, [])))
      self._open[split] = _Shard(array_record_module.ArrayRecordWriter(str(path), "group_size:1"))
    shard = self._open[split]
    shard.writer.write(example.data)
    shard.count += 1
    shard.size += len(example.data)
    before = self._identity.get(split, "")
    self._identity[split] = files.digest(before.encode(), example.mark.encode())

  def reset(self) -> None:
    """Forgets what an earlier writer of the folder has committed."""
    self._complete, self._identity, self.state = {}, {}, {}
    self._remove_uncommitted()

  @property
  def full(self) -> bool:
    """Whether shard_bytes have been added since the last commit: it is time for another."""
    return sum(shard.size for shard in self._open.values()) >= self._shard_bytes

  @property
  def sizes(self) -> dict[str, tuple[int, int]]:
    """(examples, bytes) of each split, also of files that are being written."""
    out = {split: [*map(sum, zip(*of_split, strict=True))] for split, of_split in self._all()}
    return {split: (count, size) for split, (count, size) in out.items()}

  def commit(self, state: Mapping[str, object] | None = None) -> None:
    """Ends the open files, and saves `state`, for JSON, with the list of files."""
    for shard in self._open.values():
      shard.writer.close()
    self._complete, self._open = dict(self._all()), {}
    self.state = dict(state or {})
    progress = {"shards": self._complete, "identity": self._identity, "state": self.state}
    files.write_atomic(self.draft / "progress.json", json.dumps(progress))

  def shuffle(self, split: str, into: str, *, seed: int) -> None:
    """Moves the committed examples of a split, in random order, into one file of another split.

    For a small split, whose first examples shall stand for all.
    """
    paths = [str(self._path(split, i)) for i in range(len(self._complete[split]))]
    source = array_record_data_source.ArrayRecordDataSource(paths)
    for index in np.random.default_rng(seed).permutation(len(source)).tolist():
      row = example_rows.FEATURES.deserialize_example_np(source[index])
      self.add(into, Stored(_mark(row), source[index]))
    del self._complete[split], self._identity[split]
    self.commit(self.state)
    self._remove_uncommitted()

  def finish(self) -> None:
    """Writes TFDS' description, and gives the folder its name. The draft is gone then."""
    self.commit(self.state)
    info = tfds.core.DatasetInfo(
      builder=tfds.core.dataset_info.DatasetIdentity(
        name=NAME,
        version=tfds.core.Version("1.0.0"),
        data_dir=str(self.draft),
        module_name=__name__,
      ),
      features=example_rows.FEATURES,
      description="Questions put to a judge, with two candidates each.",
    )
    info.set_file_format("array_record")
    info.set_splits(
      tfds.core.splits.SplitDict(
        [
          tfds.core.SplitInfo(
            name=split,
            shard_lengths=[count for count, _ in of_split],
            num_bytes=sum(size for _, size in of_split),
            filename_template=_template(self.draft, split),
          )
          for split, of_split in self._complete.items()
        ]
      )
    )
    info.write_to_directory(self.draft)
    files.write_atomic(self.draft / files.IDENTITY, json.dumps(self._identity))
    (self.draft / "progress.json").unlink()
    os.replace(self.draft, self._folder)

  def _all(self) -> Iterator[tuple[str, list[list[int]]]]:
    """(split, [examples, bytes] of its files) with those that are being written."""
    for split in dict.fromkeys([*self._complete, *self._open]):
      shard = self._open.get(split)
      new = [[shard.count, shard.size]] if shard else []
      yield split, self._complete.get(split, []) + new

  def _path(self, split: str, number: int) -> pathlib.Path:
    path = _template(self.draft, split).sharded_filepath(shard_index=number, num_shards=None)
    return pathlib.Path(path)

  def _remove_uncommitted(self) -> None:
    known = {self._path(split, i) for split, of in self._complete.items() for i in range(len(of))}
    for path in self.draft.iterdir():
      if path.name != "progress.json" and path not in known:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def draft_folder(folder: str | os.PathLike) -> pathlib.Path:
  """Where the data set of `folder` is until it is complete; it is never read as one."""
  folder = pathlib.Path(folder)
  return folder.with_name(f".{folder.name}.unfinished")


def serialize(example: Example, *, options: media.Options = media.DEFAULT) -> Stored:
  """An example with its media, opened by `options`, as `Writer.add` takes it.

  Raises BadExample, naming the example, if it cannot be stored.
  """
  row = example_rows.to_row(example, options=options)
  return Stored(_mark(row), example_rows.FEATURES.serialize_example(row))


def deserialize(data: bytes) -> Example:
  """The example of stored bytes."""
  return example_rows.to_example(example_rows.FEATURES.deserialize_example_np(data))


def write(
  folder: str | os.PathLike,
  splits: Mapping[str, Iterable[Example]],
  *,
  options: media.Options = media.DEFAULT,
  left_out: Callable[[str, BadExample], object] | None = None,
) -> dict[str, int]:
  """Writes splits of Examples, in order, to a new folder; returns the examples of each split.

  The folder appears only when every split is complete; an interrupted run leaves a hidden folder
  beside it, which is never read. At most one example is in memory. Media are opened by `options`.
  `left_out` is called with (id, error) of an example whose media cannot be stored; it is not
  written. Without it the error is raised.

  Raises FileExistsError if the folder exists, BadExample naming an example whose media cannot be
  stored or whose id occurs twice in a split.
  """
  shutil.rmtree(draft_folder(folder), ignore_errors=True)  # of an interrupted run
  try:
    with Writer(folder) as writer:
      for split, examples in splits.items():
        for example in _unrepeated(examples, split):
          try:
            stored = serialize(example, options=options)
          except BadExample as error:
            if left_out is None:
              raise
            left_out(example.id, error)
            continue
          writer.add(split, stored)
          if writer.full:
            writer.commit()
      writer.finish()
      return {split: count for split, (count, _) in writer.sizes.items()}
  finally:
    shutil.rmtree(draft_folder(folder), ignore_errors=True)


def open(folder: str | os.PathLike, split: str) -> Split:  # pylint: disable=redefined-builtin
  """The examples of a split.

  Raises FileNotFoundError if the folder holds no data set, ValueError naming the known splits if
  the split is unknown.
  """
  if not (pathlib.Path(folder) / "dataset_info.json").exists():
    raise FileNotFoundError(f"{folder} holds no data set: no dataset_info.json in it")
  builder = tfds.builder_from_directory(folder)
  if split not in builder.info.splits:
    raise records.no_split(folder, split, builder.info.splits)
  return Split(str(folder), split, builder.as_data_source(split))


def _unrepeated(examples: Iterable[Example], split: str) -> Iterator[Example]:
  seen = set()
  for example in examples:
    if example.id in seen:
      raise BadRecord(f"example {example.id!r} comes twice in split {split!r}")
    seen.add(example.id)
    yield example


def _mark(row: example_rows.Row) -> str:
  texts = (row["id"], row["hash"])
  return files.digest(*(t if isinstance(t, bytes) else t.encode() for t in texts))


def _template(folder: pathlib.Path, split: str) -> tfds.core.ShardedFileTemplate:
  return tfds.core.ShardedFileTemplate(
    data_dir=folder,
    template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    dataset_name=NAME,
    split=split,
    filetype_suffix="array_record",
  )
