"""From a data set to what a step eats: shuffled, this host's share, packed, resumable; by grain.

Every iterator here has get_state() and set_state(state); a state is a small JSON-able dict. A new
iterator with the same arguments, given a state, goes on with exactly what would have followed.
"""

import math

import grain


def questions(source, ready, *, seed, batch, epochs=None, process_index=0, process_count=1):
  """An iterator of lists of `batch` questions, shuffled anew in each epoch.

  source: a sequence of Examples (len and index), such as an array_record.Split or a list.
  ready: Example -> what a list holds of it; it runs in grain's threads, beside what uses the lists.
  seed: of the shuffling; None leaves them in their order.
  epochs: None goes on for ever. With a number the last list may be shorter.
  Hosts get disjoint shares of equal size: of an epoch at most process_count - 1 examples are left
  out, others each time. Raises ValueError where a host would get nothing.
  """
  shared = _share(source, seed, epochs, process_index, process_count)
  # Few are read ahead: a question may hold a whole video.
  ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
  return iter(shared.map(ready).batch(batch, batch_fn=list).to_iter_dataset(ahead))


def batches(
  source,
  encode,
  *,
  seed,
  rows,
  tokens,
  patches,
  examples=0,
  epochs=None,
  process_index=0,
  process_count=1,
  threads=4,
  read_ahead=64,
  memory=1 << 30,
):
  """An iterator of packed batches: lists of at most `rows` rows, each a list of packing.Items.

  encode: Example -> packing.Item; it runs in grain's threads, so it must not depend on call order.
  tokens, patches: what a row may hold. Items go, in order, into the first row with room for them;
  one that fits in none starts the next batch, so that nothing is lost, repeated or cut. On several
  hosts use epochs=None: the hosts' shares may pack into different numbers of batches.
  examples: Items that a batch holds at most; 0: as many as find room.
  threads, read_ahead: how many encode at once, and how many Items wait in memory.
  memory: bytes of Items that are kept for the epochs to come, the first that are encoded.
  Raises ValueError naming the example that does not fit into an empty row. The rest as `questions`.
  """
  places = _share(range(len(source)), seed, epochs, process_index, process_count)
  read = Remembered(lambda place: encode(source[place]), memory)
  ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=read_ahead)
  stream = places.map(read).to_iter_dataset(ahead)
  return iter(FirstFit(stream, rows, tokens, patches, examples))


def _share(source, seed, epochs, process_index, process_count):
  each = len(source) // process_count
  if not each:
    raise ValueError(f"{len(source)} examples cannot be shared by {process_count} processes")
  ordered = grain.MapDataset.source(source)
  if seed is not None:
    ordered = ordered.shuffle(seed=seed)
  return ordered[process_index : each * process_count : process_count].repeat(epochs)


class Remembered:
  """`encode`, by place; the packing.Items that fit into `memory` bytes are encoded once."""

  def __init__(self, encode, memory):
    self._encode, self._left, self._kept = encode, memory, {}

  def __call__(self, place):
    # Threads may both encode one item and both pay for it: that loses a little room and no more.
    item = self._kept.get(place)
    if item is None:
      item = self._encode(place)
      arrays = [*vars(item).values(), *vars(item.prompt).values()]
      size = sum(getattr(array, "nbytes", 0) for array in arrays)
      if size <= self._left:
        self._left -= size
        self._kept[place] = item
    return item


class FirstFit(grain.IterDataset):
  """Packs a stream of packing.Items into batches; see `batches`."""

  def __init__(self, parent, rows, tokens, patches, examples):
    super().__init__(parent)
    self._limits = (rows, tokens, patches, examples)

  def __iter__(self):
    return _FirstFitIterator(iter(self._parent), *self._limits)


class _FirstFitIterator(grain.DatasetIterator):
  def __init__(self, parent, rows, tokens, patches, examples):
    super().__init__(parent)
    self._rows, self._tokens, self._patches = rows, tokens, patches
    self._examples = examples or math.inf
    self._left_over = None  # the item that did not fit into the last batch
    self._before = None  # the parent's state before that item: where a resumed run reads on

  def __next__(self):
    batch, used = [], []
    while sum(map(len, batch)) < self._examples:
      if self._left_over is not None:
        item, self._left_over = self._left_over, None
      else:
        self._before = self._parent.get_state()
        try:
          item = next(self._parent)
        except StopIteration:
          if not batch:
            raise
          return batch
      size = self._size(item)
      at = next(
        (
          at
          for at, (tokens, patches) in enumerate(used)
          if tokens + size[0] <= self._tokens and patches + size[1] <= self._patches
        ),
        None,
      )
      if at is not None:
        batch[at].append(item)
        used[at] = (used[at][0] + size[0], used[at][1] + size[1])
      elif len(batch) < self._rows:
        batch.append([item])
        used.append(size)
      else:
        self._left_over = item
        break
    return batch

  def get_state(self):
    return self._before if self._left_over is not None else self._parent.get_state()

  def set_state(self, state):
    self._left_over = None
    self._parent.set_state(state)

  def _size(self, item):
    tokens, patches = len(item.prompt.tokens) + len(item.answer), len(item.prompt.patches)
    for what, size, limit, knob in (
      ("tokens of prompt and answer", tokens, self._tokens, "tokens"),
      ("patches", patches, self._patches, "patches"),
    ):
      if size > limit:
        raise ValueError(
          f"example {item.prompt.id!r}: {size:,} {what} > {limit:,} in a row; raise "
          f"config.buckets.{knob} or lower config.processor.max_pixels"
        )
    return tokens, patches
