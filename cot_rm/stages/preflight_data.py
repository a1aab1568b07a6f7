"""Measures all examples of a data set before a stage begins: lengths, media, references.

Nothing is decoded: pictures and videos are opened by their headers. The results are kept in
workdir/preflight/, by content: an example is measured again only if its record, a file of its
media, the processor, the grammar or this package has changed.
"""

import concurrent.futures
import dataclasses
import gzip
import importlib.metadata
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from etils import epath

import cot_rm
from cot_rm import files, media, metrics, models, prompts, schema
from cot_rm.data import array_record, bad_examples, datasets, identity
from cot_rm.prompts import escaping
from cot_rm.schema import BadExample, Example

THREADS = 8
BAR_FROM = 2000  # examples: less is measured in a moment
LIBRARIES = ("transformers", "tokenizers", "pillow")
TEXT_FILES = (".json", ".jinja", ".txt", ".model")  # of a processor
NO_VERDICT = 0


class Row(NamedTuple):
  """What is known about one example of a data set."""

  stamp: str  # of the record and its media; "": not kept
  id: str
  task: str
  gold: int  # 0: unknown
  attempts: int  # -1: unknown
  reference: int  # tokens of the reference judgement with its end of turn; 0: there is none
  verdict: int  # of the reference: 1, 2, or NO_VERDICT
  why: str  # why the reference has no verdict, or cannot be learnt from
  tokens: int  # of the prompt, the longer one of the orders; 0: not measured
  patches: int
  stored: int  # bytes of the media, about
  unstorable: str  # why the example cannot be stored in a data set; "": it can
  kind: str  # of the fault, see bad_examples.kind_of; "": the example is usable
  fault: str  # what is wrong with the example; "": nothing
  tie: bool = False  # people call the candidates equal
  ambiguous: bool = False  # another pair has the same prompt, see prompts.escaping


@dataclasses.dataclass(frozen=True)
class Measure:
  """How examples are measured.

  Args:
    grammar: name of the prompt grammar.
    folder: model folder whose processor is used; None: lengths are not known yet.
    processor: its knobs.
    swapped: the other order of the candidates is measured, too.
    options: how media are opened.
  """

  grammar: str
  folder: str | None
  processor: Mapping[str, Any]
  swapped: bool
  options: media.Options = media.DEFAULT

  def conditions(self) -> str:
    """Hash of everything but the example that a Row depends on."""
    package = pathlib.Path(cast(str, cot_rm.__file__)).parent
    sources = sorted(package.rglob("*.py")) + sorted(package.rglob("*.txt"))
    ours = [(str(path.relative_to(package)), files.content_hash(path)) for path in sources]
    folder = pathlib.Path(self.folder) if self.folder else None
    theirs = [
      (path.name, files.content_hash(path))
      for path in (sorted(folder.iterdir()) if folder else ())
      if path.suffix in TEXT_FILES and path.name != "cot_rm.json"
    ]
    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    knobs = [self.grammar, dict(self.processor), self.swapped, dataclasses.asdict(self.options)]
    return files.digest(json.dumps([ours, theirs, versions, knobs], default=str).encode())


def measure(
  workdir: epath.Path, source: Sequence[Example], how: Measure, *, name: str
) -> list[Row]:
  """A Row per example of `source`, in order; from the workdir where nothing has changed.

  Args:
    workdir: the run's folder.
    source: a data set.
    how: see `Measure`.
    name: of the data set, for the file of the results and the progress bar.
  """
  path = workdir / "preflight" / f"{files.digest(name.encode(), how.conditions().encode())}.gz"
  whole = identity.source_hash(source) if _self_contained(source) else ""
  kept_whole, kept = _read(path)
  if whole and whole == kept_whole:
    return kept
  known = {row.stamp: row for row in kept if row.stamp}
  measurer = _Measurer(how)

  def of(index: int) -> Row:
    return measurer.row(source, index, known)

  rows: list[Row] = []
  with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
    found = _windowed(pool, of, len(source))
    if len(source) < BAR_FROM:
      rows = list(found)
    else:
      with metrics.bar(f"checking {name}", len(source)) as bar:
        for row in found:
          rows.append(row)
          bar.advance()
  if rows != kept or whole != kept_whole:
    content = "\n".join(json.dumps(line) for line in [whole, *rows])
    files.write_atomic(path, gzip.compress(content.encode(), 3))
  return rows


def _self_contained(source: Sequence[Example]) -> bool:
  """Whether the files of a data set hold all of it, media included: their hash says it all."""
  if isinstance(source, datasets.Concatenated):
    return all(map(_self_contained, source.parts))
  return isinstance(source, array_record.Split)


def faults_of(rows: Sequence[Row]) -> dict[int, tuple[str, str]]:
  """{index: (kind, what is wrong)} of the unusable examples."""
  return {index: (row.kind, row.fault) for index, row in enumerate(rows) if row.fault}


def repeated(rows: Sequence[Row]) -> dict[int, tuple[str, str]]:
  """The faults of examples whose id an earlier example has."""
  first: dict[str, int] = {}
  out = {}
  for index, row in enumerate(rows):
    if not row.id:
      continue
    if (before := first.setdefault(row.id, index)) != index:
      words = f"example {row.id!r}: example {before + 1:,} and example {index + 1:,} have this id"
      out[index] = ("record", words)
  return out


def _windowed(
  pool: concurrent.futures.Executor, of: Callable[[int], Row], count: int
) -> Iterator[Row]:
  """of(0), of(1), ...: computed by the pool, a few ahead of the reader."""
  indices = iter(range(count))
  waiting = [pool.submit(of, i) for i in itertools.islice(indices, 64)]
  while waiting:
    yield waiting.pop(0).result()
    waiting += [pool.submit(of, i) for i in itertools.islice(indices, 1)]


class _Measurer:
  """Makes Rows; the processor is loaded for the first example that must be measured."""

  def __init__(self, how: Measure):
    self._how, self._grammar = how, prompts.get(how.grammar)
    self._processor: models.Processor | None = None
    if how.folder is not None:
      self._processor = open_processor(how.folder, how.processor, how.options)

  def row(self, source: Sequence[Example], index: int, known: Mapping[str, Row]) -> Row:
    """The Row of an example; the one of `known` with the same stamp."""
    try:
      example = source[index]
    except BadExample as error:
      return _bad(f"row {index + 1}", error)
    stamp = _stamp(example)
    if stamp in known:
      return known[stamp]
    row = Row(
      stamp=stamp,
      id=example.id,
      task=example.task,
      gold=example.gold or 0,
      attempts=-1 if example.attempts is None else example.attempts,
      reference=0,
      verdict=NO_VERDICT,
      why="",
      tokens=0,
      patches=0,
      stored=0,
      unstorable="",
      kind="",
      fault="",
      tie=example.tie,
    )
    try:
      return row._replace(**self._lengths(example), **self._reference(example))
    except BadExample as error:
      return row._replace(kind=bad_examples.kind_of(error), fault=str(error))

  def _lengths(self, example: Example) -> dict[str, Any]:
    orders = [example, example.swapped()] if self._how.swapped else [example]
    chats = [self._grammar.render(order) for order in orders]
    stored = sum(_stored_bytes(medium, example) for medium in example.media)
    storing = {
      "stored": stored,
      "unstorable": _unstorable(example),
      "ambiguous": escaping.ambiguous(self._grammar, example),
    }
    if self._processor is None:
      for medium in example.media:
        _open_header(medium, f"example {example.id!r}", self._how.options)
      return storing
    sizes = [self._processor.measure(chat, id=example.id) for chat in chats]
    tokens, patches = (max(column) for column in zip(*sizes, strict=True))
    return {"tokens": int(tokens), "patches": int(patches), **storing}

  def _reference(self, example: Example) -> dict[str, Any]:
    if not example.reasoning:
      return {}
    verdict = self._grammar.parse(example.reasoning, example.task)
    name, length = f"example {example.id!r}: the reference", 1
    try:
      if self._processor is not None:
        length += len(self._processor.encode(example.reasoning, name=name))
    except BadExample as error:  # a fault for the stage that learns from it alone
      return {"why": str(error)}
    return {
      "reference": length,
      "verdict": verdict.answer or NO_VERDICT,
      "why": verdict.error or "",
    }


def open_processor(
  folder: str, knobs: Mapping[str, Any], options: media.Options
) -> models.Processor:
  """The processor in a model folder, by the family that its config.json names."""
  family = json.loads((pathlib.Path(folder) / "config.json").read_text())["model_type"]
  return models.get(family).Processor.load(folder, **knobs, options=options)


def _bad(id: str, error: BadExample) -> Row:
  kind = bad_examples.kind_of(error)
  return Row("", id, "", 0, -1, 0, NO_VERDICT, "", 0, 0, 0, "", kind, str(error))


def _open_header(medium: schema.Media, name: str, options: media.Options) -> None:
  if medium.kind == "image":
    media.picture_size(cast(schema.ImageSource, medium.source), name=name, options=options)
  else:
    source = cast(schema.VideoSource, medium.source)
    video = media.video(source, fps=medium.fps, name=name, options=options)
    video.sizes(range(video.count))


def _unstorable(example: Example) -> str:
  try:
    array_record.check_storable(example)
  except BadExample as error:
    return str(error)
  return ""


def _stored_bytes(medium: schema.Media, example: Example) -> int:
  """Bytes of the medium's files, about."""
  sources = medium.source if isinstance(medium.source, (list, tuple)) else [medium.source]
  return sum(_bytes_of(source, f"example {example.id!r}") for source in sources)


def _bytes_of(source: object, name: str) -> int:
  if isinstance(source, Mapping):
    return _bytes_of(source.get("bytes") or source.get("path"), name)
  if isinstance(source, (bytes, bytearray)):
    return len(source)
  if isinstance(source, str) and not media.is_path(source):
    return len(source) * 3 // 4
  if isinstance(source, (str, os.PathLike)):
    try:
      path = media.local_path(source, name=name)
      found = [*path.iterdir()] if path.is_dir() else [path]
      return sum(file.stat().st_size for file in found)
    except (BadExample, OSError):  # an address, or a file that the check of the media names
      return 0
  return int(getattr(source, "nbytes", 0))


def _stamp(example: Example) -> str:
  """Hash of a record and of the state of the files of its media; no file is read."""
  # Without places the hash is that of a version that knew none: nothing is measured again.
  left_out = ("media",) if example.places else ("media", "places")
  fields = [getattr(example, f.name) for f in dataclasses.fields(example) if f.name not in left_out]
  return files.digest(
    json.dumps(fields, default=str, sort_keys=True).encode(),
    *(_medium_stamp(medium) for medium in example.media),
  )


def _medium_stamp(medium: schema.Media) -> bytes:
  settings = {
    f.name: getattr(medium, f.name) for f in dataclasses.fields(medium) if f.name != "source"
  }
  return json.dumps([settings, _source_stamp(medium.source)], default=str).encode()


def _source_stamp(source: object) -> object:
  if isinstance(source, (list, tuple)):
    return [_source_stamp(one) for one in source]
  if isinstance(source, Mapping):
    return {str(key): _source_stamp(value) for key, value in source.items()}
  if isinstance(source, (str, os.PathLike)) and media.is_path(source):
    try:
      path = media.local_path(source, name="")
      inside = sorted(path.iterdir()) if path.is_dir() else []
      return [str(path), *(_state(file) for file in (path, *inside))]
    except (OSError, ValueError):  # missing, or an address: the same for as long as it is so
      return str(source)
  return identity.content_hash(source)


def _state(path: pathlib.Path) -> list[object]:
  state = path.stat()
  return [path.name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _read(path: epath.Path) -> tuple[str, list[Row]]:
  """(identity of the whole data set, its Rows) of a file; ("", []) without one."""
  if not path.exists():
    return "", []
  try:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return json.loads(lines[0]), [Row(*json.loads(line)) for line in lines[1:]]
  except (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
  ):  # cut short or damaged: measured again
    return "", []
