"""Input pipelines on grain: shuffled, sharded by process, packed, resumable.

Every iterator has get_state() and set_state(state); a state is a small dict that JSON can hold. A
new iterator with the same arguments continues exactly from a state.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import grain

from cot_rm.data import packing
from cot_rm.schema import Example

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

  Raises ValueError if a process would get no example.
  """
  own = _own_part(source, seed, epochs, process_index, process_count)
  # Few are read ahead: a prompt may hold a whole video.
  ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
  return iter(own.map(transform).batch(batch, batch_fn=list).to_iter_dataset(ahead))


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

  Raises ValueError naming an example that does not fit into an empty row, or if a process would
  get no example.
  """
  indices = _own_part(range(len(source)), seed, epochs, process_index, process_count)
  cached = CachedEncoder(lambda index: encode(source[index]), cache_bytes)
  ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=read_ahead)
  stream = indices.map(cached).to_iter_dataset(ahead)
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


class CachedEncoder:
  """`encode` by index; Items that fit into `cache_bytes` are encoded only once."""

  def __init__(self, encode: Callable[[int], packing.Item], cache_bytes: int):
    self._encode, self._bytes_left, self._cache = encode, cache_bytes, {}

  def __call__(self, index: int) -> packing.Item:
    # Two threads may both encode an Item and both count its bytes: that loses a little space only.
    item = self._cache.get(index)
    if item is None:
      item = self._encode(index)
      arrays = [*vars(item).values(), *vars(item.prompt).values()]
      size = sum(getattr(array, "nbytes", 0) for array in arrays)
      if size <= self._bytes_left:
        self._bytes_left -= size
        self._cache[index] = item
    return item


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
      size = self._size(item)
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

  def _size(self, item: packing.Item) -> tuple[int, int]:
    """(tokens, patches); raises ValueError if an empty row cannot hold the Item."""
    tokens, patches = len(item.prompt.tokens) + len(item.answer), len(item.prompt.patches)
    for unit, size, limit, knob in (
      ("tokens of prompt and answer", tokens, self._tokens, "tokens"),
      ("patches", patches, self._patches, "patches"),
    ):
      if size > limit:
        raise ValueError(
          f"example {item.prompt.id!r}: {size:,} {unit} > {limit:,} in a row; raise "
          f"{knob} (config.buckets.{knob}) or lower max_pixels (config.processor.max_pixels)"
        )
    return tokens, patches
