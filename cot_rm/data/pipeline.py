"""Input pipelines on grain: shuffled, sharded by process, packed, resumable.

Every iterator has get_state() and set_state(state); a state is a small dict that JSON can hold. A
new iterator with the same arguments continues exactly from a state.

An example whose transform raises BadExample is left out where the caller gives Skips: it is counted
when the reader gets to it, so that the order and the counts do not depend on threads.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import grain

from cot_rm.data import bad_examples, packing
from cot_rm.schema import BadExample, Example

State = dict[str, object]
Ready = TypeVar("Ready")


class ResumableIterator(Protocol[Ready]):
  """An iterator whose position can be saved and restored."""

  def __iter__(self) -> Iterator[Ready]:
    """The iterator itself."""

  def __next__(self) -> Ready:
    """The next element."""

  def get_state(self) -> State:
    """The position, for JSON."""

  def set_state(self, state: State) -> None:
    """Continues from a position."""


def prompt_batches(
  source: Sequence[Example],
  transform: Callable[[Example], Ready],
  *,
  seed: int | None,
  batch: int,
  epochs: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
  skips: bad_examples.Skips | None = None,
) -> ResumableIterator[list[Ready]]:
  """Lists of `batch` transformed examples, shuffled anew in each epoch.

  Processes get disjoint parts of equal size: at most process_count - 1 examples of an epoch are
  left out, different ones each time.

  Args:
    source: the examples, such as an array_record.Split or a list.
    transform: runs in grain's threads, ahead of the reader.
    seed: of the shuffling; None keeps the order.
    batch: length of a list.
    epochs: None repeats forever. With a number, the last list may be shorter.
    process_index: of this process.
    process_count: number of processes.
    skips: counts bad examples, which are left out; None: their errors are raised.

  Raises ValueError if a process would get no example.
  """
  indices = _own_part(range(len(source)), seed, epochs, process_index, process_count)
  # Few are read ahead: a prompt may hold a whole video.
  ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2 * batch)
  tried = indices.map(_Tried(source, transform)).to_iter_dataset(ahead)
  usable = _WithoutBad(tried, skips, len(source) // process_count)
  return _Lists(iter(usable.batch(batch, batch_fn=list)), batch)


def packed_batches(
  source: Sequence[Example],
  encode: Callable[[Example], packing.Item],
  *,
  seed: int | None,
  rows: int,
  tokens: int,
  patches: int,
  max_items: int = 0,
  epochs: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 4,
  read_ahead: int = 64,
  cache_bytes: int = 1 << 30,
  skips: bad_examples.Skips | None = None,
) -> ResumableIterator[list[list[packing.Item]]]:
  """Batches of at most `rows` rows, each row a list of Items, packed by first fit.

  Items go, in order, into the first row with space for them; an Item that fits into no row starts
  the next batch, so that nothing is lost, repeated or truncated. With several processes use
  epochs=None: their parts may pack into different numbers of batches.

  Args:
    source: the examples.
    encode: runs in grain's threads, so its result must not depend on the order of calls.
    seed: of the shuffling; None keeps the order.
    rows: rows of a batch, at most.
    tokens: tokens of a row (prompts and answers), at most.
    patches: patches of a row, at most.
    max_items: Items of a batch, at most; 0: no limit.
    epochs: None repeats forever.
    process_index: of this process.
    process_count: number of processes.
    threads: Items encoded concurrently.
    read_ahead: Items that wait in memory.
    cache_bytes: bytes of Items that are kept for later epochs, the first ones encoded.
    skips: counts bad examples, which are left out; None: their errors are raised.

  Raises ValueError naming an example that does not fit into an empty row, or if a process would
  get no example.
  """
  indices = _own_part(range(len(source)), seed, epochs, process_index, process_count)

  def fitting(example: Example) -> packing.Item:
    item = encode(example)
    _check_size(item, tokens, patches)
    return item

  tried = _Tried(source, fitting, CachedItems(cache_bytes))
  ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=read_ahead)
  stream = _WithoutBad(
    indices.map(tried).to_iter_dataset(ahead), skips, len(source) // process_count
  )
  return iter(FirstFit(stream, rows=rows, tokens=tokens, patches=patches, max_items=max_items))


def _own_part(
  source: Sequence, seed: int | None, epochs: int | None, process_index: int, process_count: int
) -> grain.MapDataset:
  size = len(source) // process_count
  if not size:
    raise ValueError(
      f"{len(source)} examples cannot be shared by {process_count} processes; use fewer"
    )
  ordered = grain.MapDataset.source(source)
  if seed is not None:
    ordered = ordered.shuffle(seed=seed)
  return ordered[process_index : size * process_count : process_count].repeat(epochs)


@dataclasses.dataclass(frozen=True)
class _LeftOut:
  """Takes the place of an example that cannot be used."""

  id: str
  error: BadExample


class CachedItems:
  """Items by index, as far as they fit into `cache_bytes`: they are encoded only once."""

  def __init__(self, cache_bytes: int):
    self._bytes_left = cache_bytes
    self._cache: dict[int, packing.Item] = {}

  def get(self, index: int) -> packing.Item | None:
    """The Item, if it was kept."""
    return self._cache.get(index)

  def put(self, index: int, item: packing.Item) -> None:
    """Keeps an Item if there is space for it."""
    # Two threads may both encode an Item and both count its bytes: that loses a little space only.
    arrays = [*vars(item).values(), *vars(item.prompt).values()]
    size = sum(getattr(array, "nbytes", 0) for array in arrays)
    if size <= self._bytes_left:
      self._bytes_left -= size
      self._cache[index] = item


class _Tried:
  """`transform(source[index])`, or a _LeftOut of a bad example; runs in threads of grain."""

  def __init__(
    self,
    source: Sequence[Example],
    transform: Callable[[Example], Ready],
    cache: CachedItems | None = None,
  ):
    self._source, self._transform, self._cache = source, transform, cache

  def __call__(self, index: int) -> Ready | _LeftOut:
    if self._cache is not None and (kept := self._cache.get(index)) is not None:
      return kept
    id = f"row {index + 1}"  # where the record cannot be read
    try:
      example = self._source[index]
      id = getattr(example, "id", id)
      ready = self._transform(example)
    except BadExample as error:
      return _LeftOut(id, error)
    if self._cache is not None:
      self._cache.put(index, ready)
    return ready


class _WithoutBad(grain.IterDataset):
  """A stream without its _LeftOuts, which are counted or raised.

  Args:
    parent: the stream.
    skips: counts them; None: the error of the first one is raised.
    epoch: elements of an epoch. If all of an epoch are bad, ValueError is raised.
  """

  def __init__(self, parent: grain.IterDataset, skips: bad_examples.Skips | None, epoch: int):
    super().__init__(parent)
    self._arguments = skips, epoch

  def __iter__(self) -> grain.DatasetIterator:
    return _WithoutBadIterator(iter(self._parent), *self._arguments)


class _WithoutBadIterator(grain.DatasetIterator):
  def __init__(self, parent: grain.DatasetIterator, skips: bad_examples.Skips | None, epoch: int):
    super().__init__(parent)
    self._skips, self._epoch = skips, epoch

  def __next__(self) -> object:
    for _ in range(self._epoch + 1):
      element = next(self._parent)
      if not isinstance(element, _LeftOut):
        return element
      if self._skips is None:
        raise element.error
      self._skips.add(element.id, element.error)
    raise ValueError(f"none of {self._epoch:,} examples can be used; the last: {element.error}")

  def get_state(self) -> State:
    return self._parent.get_state()

  def set_state(self, state: State) -> None:
    self._parent.set_state(state)


class _Lists:
  """Lists of examples, with a state that counts examples; that of older versions counted lists."""

  def __init__(self, parent: grain.DatasetIterator, batch: int):
    self._parent, self._batch = parent, batch

  def __iter__(self) -> "_Lists":
    return self

  def __next__(self) -> list:
    return next(self._parent)

  def get_state(self) -> State:
    return {"examples": self._parent.get_state()}

  def set_state(self, state: State) -> None:
    if "examples" in state:
      self._parent.set_state(state["examples"])
    else:
      self._parent.set_state({**state, "next_index": state["next_index"] * self._batch})


class FirstFit(grain.IterDataset):
  """Packs a stream of Items into batches; see `packed_batches`."""

  def __init__(
    self, parent: grain.IterDataset, *, rows: int, tokens: int, patches: int, max_items: int
  ):
    super().__init__(parent)
    self._limits = dict(rows=rows, tokens=tokens, patches=patches, max_items=max_items)

  def __iter__(self) -> grain.DatasetIterator:
    return _FirstFitIterator(iter(self._parent), **self._limits)


class _FirstFitIterator(grain.DatasetIterator):
  def __init__(
    self, parent: grain.DatasetIterator, *, rows: int, tokens: int, patches: int, max_items: int
  ):
    super().__init__(parent)
    self._rows, self._tokens, self._patches = rows, tokens, patches
    self._max_items = max_items or math.inf
    self._pending = None  # the Item that did not fit into the last batch
    self._pending_state = None  # the parent's state before that Item: a resumed run reads it again

  def __next__(self) -> list[list[packing.Item]]:
    batch, used = [], []  # rows of Items, and (tokens, patches) of each row
    while sum(map(len, batch)) < self._max_items:
      try:
        item = self._next_item()
      except StopIteration:
        if not batch:
          raise
        return batch
      size = _size(item)
      row = self._first_fit(used, size)
      if row is not None:
        batch[row].append(item)
        used[row] = (used[row][0] + size[0], used[row][1] + size[1])
      elif len(batch) < self._rows:
        batch.append([item])
        used.append(size)
      else:
        self._pending = item
        break
    return batch

  def _next_item(self) -> packing.Item:
    if self._pending is not None:
      item, self._pending = self._pending, None
      return item
    self._pending_state = self._parent.get_state()
    return next(self._parent)

  def _first_fit(self, used: list[tuple[int, int]], size: tuple[int, int]) -> int | None:
    for row, (tokens, patches) in enumerate(used):
      if tokens + size[0] <= self._tokens and patches + size[1] <= self._patches:
        return row
    return None

  def get_state(self) -> State:
    return self._pending_state if self._pending is not None else self._parent.get_state()

  def set_state(self, state: State) -> None:
    self._pending = None
    self._parent.set_state(state)


def _check_size(item: packing.Item, most_tokens: int, most_patches: int) -> None:
  """Raises BadExample if an empty row cannot hold the Item."""
  for unit, size, limit, knob in (
    ("tokens of prompt and answer", _size(item)[0], most_tokens, "tokens"),
    ("patches", _size(item)[1], most_patches, "patches"),
  ):
    if size > limit:
      raise BadExample(
        f"example {item.prompt.id!r}: {size:,} {unit} > {limit:,} in a row; raise "
        f"{knob} (config.buckets.{knob}) or lower max_pixels (config.processor.max_pixels)"
      )


def _size(item: packing.Item) -> tuple[int, int]:
  """(tokens, patches)."""
  return len(item.prompt.tokens) + len(item.answer), len(item.prompt.patches)
