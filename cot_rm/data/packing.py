"""Pads and packs encoded prompts and their answers to batches of a closed set of shapes.

B rows, T tokens, R rows of pictures, P patches, C values per patch, G answers to a prompt.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cot_rm.batch import Batch, Encoded, Pictures
from cot_rm.schema import BadExample

Shape = tuple[int, int, int]  # (T, P, C) of a batch of prompts
Arrays = dict[str, np.ndarray]  # the fields of a Batch, or one row of each


@dataclasses.dataclass(frozen=True)
class Buckets:
  """Allowed shapes of batches: each dimension is padded to the smallest bucket that holds it."""

  tokens: tuple[int, ...]  # lengths of a row
  patches: tuple[int, ...]  # patches of a row's pictures; 0 is always allowed
  answers: tuple[int, ...]  # lengths of an answer, for groups that share their prompt

  @property
  def num_shapes(self) -> int:
    """Number of (tokens, patches) shapes, an upper bound on the programs compiled."""
    return len(self.tokens) * (len(set(self.patches) | {0}))

  def token_bucket(self, example_id: str, count: int) -> int:
    """The smallest row that holds `count` tokens; raises BadExample if none does."""
    return _smallest(self.tokens, count, f"example {example_id!r}: {count:,} tokens", "tokens")

  def answer_bucket(self, example_id: str, count: int) -> int:
    """The smallest answer bucket for `count` tokens; raises BadExample if none holds them."""
    subject = f"example {example_id!r}: an answer of {count:,} tokens"
    return _smallest(self.answers or (0,), count, subject, "answers")

  def patch_bucket(self, example_id: str, count: int) -> int:
    """The smallest row that holds `count` patches; raises BadExample if none does."""
    subject = f"example {example_id!r}: {count:,} patches"
    return _smallest((0, *self.patches), count, subject, "patches")


def _smallest(sizes: Sequence[int], count: int, subject: str, field: str) -> int:
  for size in sorted(sizes):
    if count <= size:
      return size
  raise BadExample(
    f"{subject} > {max(sizes):,}, the largest bucket; raise {field} of the buckets "
    f"(config.buckets.{field}) or lower max_pixels (config.processor.max_pixels)"
  )


@dataclasses.dataclass(frozen=True)
class Item:
  """A prompt and one answer to it."""

  prompt: Encoded
  answer: np.ndarray  # i32[T], the end-of-turn token included
  logps: np.ndarray | None = None  # f32[T], of the policy that sampled the answer
  advantage: float | np.ndarray = 0.0  # of the whole answer, or f32[T] per token


def check_pictures(prompt: Encoded) -> None:
  """Raises ValueError if picture tokens and merged patches do not match one to one."""
  tokens = np.sort(prompt.visual[prompt.visual >= 0])
  merged, rest = divmod(len(prompt.patches), prompt.patches_per_token)
  if rest or not np.array_equal(tokens, np.arange(merged)):
    raise ValueError(
      f"example {prompt.id!r}: {len(tokens)} picture tokens for {merged} merged "
      f"patches: they must match one to one"
    )


def prompts(
  encoded: Sequence[Encoded], buckets: Buckets, *, rows: int, shape: Shape | None = None
) -> Batch:
  """Pads prompts on the right to a Batch of `rows` rows; rows without a prompt are padding.

  Args:
    encoded: at most `rows` prompts; may be empty only if `shape` is given.
    buckets: allowed shapes.
    rows: B.
    shape: (tokens, patches, values per patch), if the batch must have the shape that other
      processes have. None: the smallest buckets that hold these prompts.
  """
  if shape is None or encoded:
    _check_rows(len(encoded), rows)
  no_answer = np.zeros(0, np.int32)
  packed = [[Item(e, no_answer)] for e in encoded]
  return _batch(packed, _shape(packed, buckets) if shape is None else shape, rows)


def pack(packed: Sequence[Sequence[Item]], buckets: Buckets, *, rows: int) -> Batch:
  """Concatenates the Items of each row; each Item is a segment of its own.

  Args:
    packed: at most `rows` lists of Items.
    buckets: allowed shapes.
    rows: B.
  """
  _check_rows(len(packed), rows)
  return _batch(packed, _shape(packed, buckets), rows)


def groups(grouped: Sequence[Sequence[Item]], buckets: Buckets, *, rows: int) -> Batch:
  """A Batch of answers, one per row, that shares its prompts: `Batch.prompts` has each once.

  Args:
    grouped: at most `rows` lists of G Items with the same prompt.
    buckets: allowed shapes.
    rows: prompts of the batch; B is rows * G.
  """
  sizes = {len(group) for group in grouped}
  if len(sizes) != 1:
    raise ValueError(f"groups of different sizes {sorted(sizes)} in one batch")
  prompt_batch = prompts([group[0].prompt for group in grouped], buckets, rows=rows)
  flat = [item for group in grouped for item in group]
  longest = max(flat, key=lambda item: len(item.answer))
  out = _empty(rows * sizes.pop(), buckets.answer_bucket(longest.prompt.id, len(longest.answer)))
  for b, item in enumerate(flat):
    _fill_answer(_row(out, b), item, 0)
    out["segments"][b, : len(item.answer)] = 1
  return Batch(prompts=prompt_batch, **out)


def _check_rows(count: int, rows: int) -> None:
  if not 0 < count <= rows:
    raise ValueError(f"{count} items for a batch of {rows} rows")


def _shape(packed: Sequence[Sequence[Item]], buckets: Buckets) -> Shape:
  """The smallest shape that holds these rows."""
  longest = max(packed, key=_tokens)
  length = buckets.token_bucket(longest[0].prompt.id, _tokens(longest))
  most_patches = max(packed, key=_patches)
  count = buckets.patch_bucket(most_patches[0].prompt.id, _patches(most_patches))
  return length, count, max(item.prompt.patches.shape[1] for row in packed for item in row)


def _tokens(row: Sequence[Item]) -> int:
  return sum(len(item.prompt.tokens) + len(item.answer) for item in row)


def _patches(row: Sequence[Item]) -> int:
  return sum(len(item.prompt.patches) for item in row)


def _batch(packed: Sequence[Sequence[Item]], shape: Shape, rows: int) -> Batch:
  length, *picture_shape = shape
  out = _empty(rows, length)
  for b, items in enumerate(packed):
    _fill_row(_row(out, b), items)
  pictures = _pictures([[item.prompt for item in items] for items in packed], rows, *picture_shape)
  return Batch(pictures=pictures, **out)


def _empty(rows: int, length: int) -> Arrays:
  return dict(
    tokens=np.zeros((rows, length), np.int32),
    positions=np.zeros((rows, length, 3), np.int32),
    segments=np.zeros((rows, length), np.int32),
    visual=np.full((rows, length), -1, np.int32),
    mask=np.zeros((rows, length), np.float32),
    old_logps=np.zeros((rows, length), np.float32),
    advantages=np.zeros((rows, length), np.float32),
  )


def _row(arrays: Arrays, b: int) -> Arrays:
  """Views of row b of every array."""
  return {name: array[b] for name, array in arrays.items()}


def _fill_row(out: Arrays, items: Sequence[Item]) -> None:
  at = merged = 0
  for segment, item in enumerate(items, 1):
    prompt = item.prompt
    check_pictures(prompt)
    middle = at + len(prompt.tokens)
    end = middle + len(item.answer)
    out["tokens"][at:middle] = prompt.tokens
    out["positions"][at:middle] = prompt.positions
    out["visual"][at:middle] = np.where(prompt.visual >= 0, prompt.visual + merged, -1)
    out["segments"][at:end] = segment
    _fill_answer(out, item, middle)
    at, merged = end, merged + len(prompt.patches) // prompt.patches_per_token


def _fill_answer(out: Arrays, item: Item, at: int) -> None:
  end = at + len(item.answer)
  out["tokens"][at:end] = item.answer
  out["positions"][at:end] = item.prompt.next_position + np.arange(len(item.answer))[:, None]
  out["mask"][at:end] = 1
  out["advantages"][at:end] = item.advantage
  if item.logps is not None:
    out["old_logps"][at:end] = item.logps


def _pictures(
  prompts_of_row: Sequence[Sequence[Encoded]], rows: int, patches: int, numbers: int
) -> Pictures | None:
  if patches == 0:
    return None
  out = Pictures(
    patches=np.zeros((rows, patches, numbers), np.float32),
    hw=np.zeros((rows, patches, 2), np.int32),
    windows=np.zeros((rows, patches), np.int32),
    frames=np.zeros((rows, patches), np.int32),
  )
  for r, row in enumerate(prompts_of_row):
    at = 0
    for prompt in row:
      end = at + len(prompt.patches)
      prompt.write_pixels(out.patches[r, at:end])
      out.hw[r, at:end] = prompt.hw
      # Segment ids begin at 1 in each prompt: they are shifted past those already in the row.
      for name in ("windows", "frames"):
        ids = getattr(out, name)[r]
        ids[at:end] = getattr(prompt, name) + ids[:at].max(initial=0)
      at = end
  return out
