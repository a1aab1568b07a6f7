"""Text of a sample while it is decoded: stop strings, streaming, cancellation."""

from collections.abc import Callable, Sequence

import numpy as np

from cot_rm.schema import Finish

REPLACEMENT = "\ufffd"  # decoded for a character whose bytes are not all there yet


class TextStops:
  """Ends samples by their text and streams it; an `on_chunk` callback of the engine."""

  def __init__(
    self,
    decode: Callable[[np.ndarray], str],
    *,
    stop: Sequence[str] = (),
    stream: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[int, int], bool] | None = None,
  ) -> None:
    """
    Args:
      decode: tokens to text.
      stop: stop strings; a text ends before the first occurrence of any of them.
      stream: `(prompt, sample, text)`, called with the new text of a sample; never with part of a
        character, nor with text that may turn out to be a stop string.
      cancelled: `(prompt, sample) -> bool`: true ends a sample, which keeps its tokens so far.
    """
    self.decode, self.stop = decode, tuple(stop)
    self.stream, self.cancelled = stream, cancelled
    self._streamed: dict[tuple[int, int], int] = {}  # {(prompt, sample): characters streamed}
    if "" in self.stop:
      raise ValueError("stop contains an empty string: every text would end before it begins")

  def __call__(
    self, prompt: int, sample: int, tokens: np.ndarray, finish: Finish | None
  ) -> tuple[Finish, int] | None:
    """(finish, tokens to keep) if the sample ends here, else None; see engine.OnChunk."""
    text, end = self.decode(tokens), None
    if stops := [(text.index(stop), stop) for stop in self.stop if stop in text]:
      start, stop = min(stops)
      text = text[:start]
      end = "stop", token_at(self.decode, tokens, start + len(stop) - 1) + 1
    elif not finish and self.cancelled and self.cancelled(prompt, sample):
      end = "cancelled", len(tokens)
    if self.stream:
      self._send(prompt, sample, text, complete=bool(finish or end))
    return end

  def cut(self, text: str) -> str:
    """A finished text without its stop string and everything after it."""
    return text[: min((text.index(stop) for stop in self.stop if stop in text), default=None)]

  def _send(self, prompt: int, sample: int, text: str, complete: bool) -> None:
    """Streams the new part of a text; if incomplete, only the part that cannot change any more."""
    streamed = self._streamed.get((prompt, sample), 0)
    end = len(text)
    if not complete:
      end = len(text.rstrip(REPLACEMENT))
      held = (k for stop in self.stop for k in range(1, len(stop)) if text[:end].endswith(stop[:k]))
      end -= max(held, default=0)
    if end > streamed:
      self.stream(prompt, sample, text[streamed:end])
      self._streamed[prompt, sample] = end


def token_at(
  decode: Callable[[np.ndarray], str], tokens: Sequence[int] | np.ndarray, index: int
) -> int:
  """Index of the token that wrote character `index` of the tokens' text.

  The search goes backwards from the end, where verdicts are: in growing steps, then by bisection.
  """

  def covers(count):
    return len(decode(np.asarray(tokens[:count]))) > index

  low, high, back = 0, len(tokens), 2
  while high - back > low and covers(high - back):
    high, back = high - back, 2 * back
  low = max(low, high - back + 1)
  while low < high:
    middle = (low + high) // 2
    low, high = (low, middle) if covers(middle) else (middle + 1, high)
  return low - 1
