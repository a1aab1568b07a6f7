"""Texts while they grow."""

import numpy as np
import pytest

from cot_rm.sampler import text_stops

WORDS = b"one two end three"


def decode(tokens):
  """A token is a byte."""
  return bytes(int(t) for t in tokens).decode(errors="replace")


def grow(watch, data, chunk):
  """What `watch` says of a text that comes in chunks; (finish, tokens that count)."""
  for end in range(chunk, len(data) + chunk, chunk):
    tokens = np.frombuffer(data[:end], np.uint8).astype(np.int32)
    finish = "length" if end >= len(data) else None
    finish, count = watch(0, 0, tokens, finish) or (finish, len(tokens))
    if finish:
      return finish, count
  raise AssertionError("it never ended")


@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
def test_a_text_ends_before_the_first_of_its_stop_strings_however_it_comes(chunk):
  watch = text_stops.Texts(decode, stop=("three", "end", "nothing"))
  finish, count = grow(watch, WORDS, chunk)
  assert finish == "stop" and decode(WORDS[:count]) == "one two end"
  assert watch.cut("one two end") == "one two "
  assert watch.cut("one two") == "one two"


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("data", [WORDS, "sternförmig, grün €5".encode(), b"one two en", b"e"])
def test_what_is_streamed_adds_up_to_the_text(data, chunk):
  parts = []
  watch = text_stops.Texts(decode, stop=("end",), stream=lambda place, g, text: parts.append(text))
  _, count = grow(watch, data, chunk)
  assert "".join(parts) == watch.cut(decode(data[:count]))
  assert not any(text_stops.HALF in part for part in parts)


def test_a_cancelled_text_keeps_what_it_has():
  asked = []
  watch = text_stops.Texts(
    decode, cancelled=lambda place, g: asked.append((place, g)) or len(asked) > 1
  )
  assert grow(watch, WORDS, 4) == ("cancelled", 8)
  assert asked == [(0, 0)] * 2


def test_a_text_that_has_ended_is_not_cancelled():
  watch = text_stops.Texts(decode, cancelled=lambda place, g: True)
  assert watch(0, 0, np.array([65]), "stop") is None


def test_an_empty_stop_string_is_refused():
  with pytest.raises(ValueError, match="empty"):
    text_stops.Texts(decode, stop=("a", ""))


@pytest.mark.parametrize("place", range(len(WORDS)))
def test_the_token_that_wrote_a_character_is_found(place):
  assert text_stops.token_at(decode, np.frombuffer(WORDS, np.uint8), place) == place
