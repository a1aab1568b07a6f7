"""What texts are while they grow: they end at a stop string, are streamed, are cancelled."""

import numpy as np

HALF = "\ufffd"  # what a decoder writes for a character whose bytes have not all come


class Texts:
  """Watches samples as texts: `watch` of the engine."""

  def __init__(self, decode, *, stop=(), stream=None, cancelled=None):
    """
    Args:
      decode: tokens to text.
      stop: strings; a text ends before the one that comes first in it.
      stream: `(place, g, text)`, called with what the text of a sample has grown by: never half a
        character, nor what a stop string may begin with.
      cancelled: `(place, g) -> bool`: true ends a sample, which keeps what it has.
    """
    self.decode, self.stop = decode, tuple(stop)
    self.stream, self.cancelled = stream, cancelled
    self._sent = {}  # characters, by (place, g)
    if "" in self.stop:
      raise ValueError("a stop string is empty: every text would end before it begins")

  def __call__(self, place, g, tokens, finish):
    """(finish, tokens that count) where the sample ends here, else None; see engine.Engine."""
    text, said = self.decode(tokens), None
    if stops := [(text.index(stop), stop) for stop in self.stop if stop in text]:
      end, stop = min(stops)
      text, said = text[:end], ("stop", token_at(self.decode, tokens, end + len(stop) - 1) + 1)
    elif not finish and self.cancelled and self.cancelled(place, g):
      said = "cancelled", len(tokens)
    if self.stream:
      self._send(place, g, text, whole=bool(finish or said))
    return said

  def cut(self, text):
    """A finished text without its stop string and what stands behind it."""
    return text[: min((text.index(stop) for stop in self.stop if stop in text), default=None)]

  def _send(self, place, g, text, whole):
    sent = self._sent.get((place, g), 0)
    end = len(text)
    if not whole:
      end = len(text.rstrip(HALF))
      held = (k for stop in self.stop for k in range(1, len(stop)) if text[:end].endswith(stop[:k]))
      end -= max(held, default=0)
    if end > sent:
      self.stream(place, g, text[sent:end])
      self._sent[place, g] = end


def token_at(decode, tokens, place):
  """Which of the tokens wrote the character at `place` of their text.

  It is looked for from the end, where verdicts stand: in steps that grow, then by halves.
  """
  past = lambda count: len(decode(np.asarray(tokens[:count]))) > place
  low, high, back = 0, len(tokens), 2
  while high - back > low and past(high - back):
    high, back = high - back, 2 * back
  low = max(low, high - back + 1)
  while low < high:
    middle = (low + high) // 2
    low, high = (low, middle) if past(middle) else (middle + 1, high)
  return low - 1
