"""Text of samples while they are decoded."""

import numpy as np
import pytest

from cot_rm.sampler import text_stops

WORDS = b"one two end three"


def decode(tokens):
  """A token is a byte."""
  return bytes(int(t) for t in tokens).decode(errors="replace")


def feed(stops, data, chunk):
  """(finish, tokens to keep) of a text that comes in chunks."""
  for end in range(chunk, len(data) + chunk, chunk):
    tokens = np.frombuffer(data[:end], np.uint8).astype(np.int32)
    finish = "length" if end >= len(data) else None
    finish, count = stops(0, 0, tokens, finish) or (finish, len(tokens))
    if finish:
      return finish, count
  raise AssertionError("it never ended")


@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
def test_a_text_ends_before_its_first_stop_string_for_any_chunk(chunk):
  stops = text_stops.TextStops(decode, stop=("three", "end", "nothing"))
  finish, count = feed(stops, WORDS, chunk)
  assert finish == "stop" and decode(WORDS[:count]) == "one two end"
  assert stops.cut("one two end") == "one two "
  assert stops.cut("one two") == "one two"


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("data", [WORDS, "sternförmig, grün €5".encode(), b"one two en", b"e"])
def test_the_streamed_parts_add_up_to_the_text(data, chunk):
  parts = []
  stops = text_stops.TextStops(
    decode, stop=("end",), stream=lambda prompt, g, text: parts.append(text)
  )
  _, count = feed(stops, data, chunk)
  assert "".join(parts) == stops.cut(decode(data[:count]))
  assert not any(text_stops.REPLACEMENT in part for part in parts)


def test_a_cancelled_text_keeps_what_it_has():
  asked = []
  stops = text_stops.TextStops(
    decode, cancelled=lambda prompt, g: asked.append((prompt, g)) or len(asked) > 1
  )
  assert feed(stops, WORDS, 4) == ("cancelled", 8)
  assert asked == [(0, 0)] * 2


def test_a_text_that_has_ended_is_not_cancelled():
  stops = text_stops.TextStops(decode, cancelled=lambda prompt, g: True)
  assert stops(0, 0, np.array([65]), "stop") is None


def test_an_empty_stop_string_is_refused():
  with pytest.raises(ValueError, match="empty"):
    text_stops.TextStops(decode, stop=("a", ""))


@pytest.mark.parametrize("index", range(len(WORDS)))
def test_the_token_that_wrote_a_character_is_found(index):
  assert text_stops.token_at(decode, np.frombuffer(WORDS, np.uint8), index) == index
