"""Encoded prompts made by hand, for tests that need no tokenizer and no picture."""

import numpy as np

from cot_rm.batch import Encoded

NUMBERS = 1176  # in a patch


def encoded(seed, length, merged=(), *, vocab=400, name=None):
  """A prompt of `length` random tokens that shows one picture of 4 * m patches for m in `merged`.

  Its positions are plain 0, 1, 2, ...; each picture is one window.
  """
  rng = np.random.default_rng(seed)
  tokens = rng.integers(8, vocab, length).astype(np.int32)
  visual = np.full(length, -1, np.int32)
  at, place = 0, 1
  for count in merged:
    visual[place : place + count] = at + np.arange(count)
    tokens[place : place + count] = 5
    at, place = at + count, place + count + 1
  assert place <= length, "the pictures do not fit"
  pictures = np.repeat(np.arange(1, len(merged) + 1), [4 * m for m in merged]).astype(np.int32)
  return Encoded(
    id=name or f"chat-{seed}",
    tokens=tokens,
    positions=np.repeat(np.arange(length, dtype=np.int32)[:, None], 3, axis=1),
    visual=visual,
    next_position=length,
    patches_per_token=4,
    patches=rng.normal(size=(4 * at, NUMBERS)).astype(np.float32),
    hw=rng.integers(0, 6, (4 * at, 2)).astype(np.int32),
    windows=pictures,
    frames=pictures,
  )
