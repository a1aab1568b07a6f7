"""Encoded prompts and their answers to padded batches of a closed set of shapes.

B rows, T tokens, R rows of pictures, P patches.
"""

import dataclasses

import numpy as np

from cot_rm.batch import Batch, Encoded, Pictures


@dataclasses.dataclass(frozen=True)
class Buckets:
  """The shapes that batches may have: each row is padded to the smallest that holds it."""

  tokens: tuple[int, ...]  # lengths of a row
  patches: tuple[int, ...]  # patches of a row's pictures; 0 is always allowed
  answers: tuple[int, ...] = ()  # lengths of an answer, where groups of them share their prompt

  @property
  def programs(self):
    """How many shapes there are, and so how many programs may be compiled."""
    return len(self.tokens) * (len(set(self.patches) | {0}))

  def length(self, item_id, count):
    return _fit(
      count, self.tokens, f"example {item_id!r}: {count:,} tokens", "config.buckets.tokens"
    )

  def answer(self, item_id, count):
    return _fit(
      count,
      self.answers or (0,),
      f"example {item_id!r}: an answer of {count:,} tokens",
      "config.buckets.answers",
    )

  def patch_count(self, item_id, count):
    return _fit(
      count, (0, *self.patches), f"example {item_id!r}: {count:,} patches", "config.buckets.patches"
    )


def _fit(count, sizes, what, knob):
  for size in sorted(sizes):
    if count <= size:
      return size
  raise ValueError(
    f"{what} > {max(sizes):,}, the largest bucket; raise {knob} or lower "
    f"config.processor.max_pixels"
  )


@dataclasses.dataclass(frozen=True)
class Item:
  """A prompt and one answer to it."""

  prompt: Encoded
  answer: np.ndarray  # i32[T], the end-of-turn token included
  logps: np.ndarray | None = None  # f32[T], of the policy that sampled it
  advantage: float | np.ndarray = 0.0  # of the whole answer, or f32[T] of each of its tokens


def check_pictures(prompt):
  """Raises ValueError where picture tokens and picture features do not match one to one."""
  tokens = np.sort(prompt.visual[prompt.visual >= 0])
  merged, rest = divmod(len(prompt.patches), 4)
  if rest or not np.array_equal(tokens, np.arange(merged)):
    raise ValueError(
      f"example {prompt.id!r}: {len(tokens)} picture tokens for {merged} merged "
      f"patches: they must match one to one"
    )


def prompts(encoded, buckets, *, rows, like=None):
  """Prompts, padded on the right, as a Batch of `rows` rows; rows without a prompt are padding.

  like: (tokens, patches, numbers of a patch) of the batch, where it must fit that of other
    processes; there may be no prompt then. None: the smallest that holds these.
  """
  if like is None or encoded:
    _check_rows(len(encoded), rows)
  return _batch(
    [[Item(e, np.zeros(0, np.int32))] for e in encoded],
    [[e] for e in encoded],
    buckets,
    rows,
    rows,
    like,
  )


def pack(packed, buckets, *, rows):
  """Rows of several items each, laid end to end, as a Batch; a segment is an item."""
  _check_rows(len(packed), rows)
  return _batch(packed, [[item.prompt for item in row] for row in packed], buckets, rows, rows)


def groups(grouped, buckets, *, rows):
  """Groups of answers to one prompt each: an answer a row, the prompts beside them, each once.

  `grouped` holds at most `rows` lists of G items with the same prompt.
  """
  sizes = {len(group) for group in grouped}
  if len(sizes) != 1:
    raise ValueError(f"groups of different sizes {sorted(sizes)} in one batch")
  read = prompts([group[0].prompt for group in grouped], buckets, rows=rows)
  flat = [item for group in grouped for item in group]
  longest = max(flat, key=lambda item: len(item.answer))
  out = _empty(rows * sizes.pop(), buckets.answer(longest.prompt.id, len(longest.answer)))
  for b, item in enumerate(flat):
    _fill_answer({name: array[b] for name, array in out.items()}, item, 0)
    out["segments"][b, : len(item.answer)] = 1
  return Batch(prompts=read, **out)


def _check_rows(count, rows):
  if not 0 < count <= rows:
    raise ValueError(f"{count} items for a batch of {rows} rows")


def _batch(packed, pictured, buckets, rows, picture_rows, like=None):
  """`packed`: the items of each row. `pictured`: the prompts of each row of pictures."""
  if like is None:
    longest = max(packed, key=_tokens)
    length = buckets.length(longest[0].prompt.id, _tokens(longest))
    like = (length, *_patches(pictured, buckets))
  length, *patches = like
  out = _empty(rows, length)
  for b, row in enumerate(packed):
    _fill_text({name: array[b] for name, array in out.items()}, row)
  return Batch(pictures=_pictures(pictured, picture_rows, *patches), **out)


def _empty(rows, length):
  return dict(
    tokens=np.zeros((rows, length), np.int32),
    positions=np.zeros((rows, length, 3), np.int32),
    segments=np.zeros((rows, length), np.int32),
    visual=np.full((rows, length), -1, np.int32),
    mask=np.zeros((rows, length), np.float32),
    old_logps=np.zeros((rows, length), np.float32),
    advantages=np.zeros((rows, length), np.float32),
  )


def _tokens(row):
  return sum(len(item.prompt.tokens) + len(item.answer) for item in row)


def _fill_text(out, row):
  at = merged = 0
  for segment, item in enumerate(row, 1):
    prompt = item.prompt
    check_pictures(prompt)
    middle = at + len(prompt.tokens)
    end = middle + len(item.answer)
    out["tokens"][at:middle] = prompt.tokens
    out["positions"][at:middle] = prompt.positions
    out["visual"][at:middle] = np.where(prompt.visual >= 0, prompt.visual + merged, -1)
    out["segments"][at:end] = segment
    _fill_answer(out, item, middle)
    at, merged = end, merged + len(prompt.patches) // 4


def _fill_answer(out, item, at):
  end = at + len(item.answer)
  out["tokens"][at:end] = item.answer
  out["positions"][at:end] = item.prompt.next_position + np.arange(len(item.answer))[:, None]
  out["mask"][at:end] = 1
  out["advantages"][at:end] = item.advantage
  if item.logps is not None:
    out["old_logps"][at:end] = item.logps


def _patches(pictured, buckets):
  """(patches of a row, numbers of a patch)."""
  counts = [sum(len(prompt.patches) for prompt in row) for row in pictured]
  most = int(np.argmax(counts))
  size = buckets.patch_count(pictured[most][0].id, counts[most])
  return size, max(prompt.patches.shape[1] for row in pictured for prompt in row)


def _pictures(pictured, rows, size, numbers):
  if size == 0:
    return None
  out = Pictures(
    patches=np.zeros((rows, size, numbers), np.float32),
    hw=np.zeros((rows, size, 2), np.int32),
    windows=np.zeros((rows, size), np.int32),
    frames=np.zeros((rows, size), np.int32),
  )
  for r, row in enumerate(pictured):
    at = 0
    for prompt in row:
      end = at + len(prompt.patches)
      prompt.write_pixels(out.patches[r, at:end])
      out.hw[r, at:end] = prompt.hw
      # Segment ids start anew in each prompt: they are moved past those already in the row.
      for name in ("windows", "frames"):
        ids = getattr(out, name)[r]
        ids[at:end] = getattr(prompt, name) + ids[:at].max(initial=0)
      at = end
  return out
