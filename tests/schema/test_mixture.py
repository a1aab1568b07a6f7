"""Texts with media between them are laid out as a text with places, and read back as they were."""

import re

import pytest

from cot_rm.schema import Media, mixture

A, B = Media("image", "a.png"), Media("video", "b.mp4")


@pytest.mark.parametrize(
  ("given", "text", "places"),
  [
    ("a cat", "a cat", ()),
    (A, "", (0,)),
    ([A, "a cat"], "a cat", (0,)),
    (["a ", A, "cat", B], "a cat", (2, 5)),
    (["a ", "cat", A, B, " or not"], "a cat or not", (5, 5)),
    ([A, "\n", B], "", (0, 0)),  # white space between two pictures is no text
    ([" ", A, "cat "], " cat ", (1,)),
  ],
)
def test_a_place_is_the_number_of_characters_before_the_medium(given, text, places):
  found = mixture.lay_out(given)
  assert (found[0], found[2]) == (text, places)
  assert mixture.lay_out(mixture.pieces_of(*found)) == found


def test_pieces_are_in_their_order_and_none_is_empty():
  assert mixture.pieces_of("a cat", (A, B), (0, 2)) == (A, "a ", B, "cat")
  assert mixture.pieces_of("", (A, B), (0, 0)) == (A, B)
  assert mixture.pieces_of("a cat", (), ()) == ("a cat",)


def test_what_is_neither_a_text_nor_media_is_refused():
  with pytest.raises(TypeError, match="of texts and Media, not of int"):
    mixture.lay_out(["a", 3])


@pytest.mark.parametrize(
  ("places", "media", "fault"),
  [
    (((0,), (1,), ()), 2, None),
    (((0,), (1,), ()), 0, None),
    (((0,), (1,)), 2, "places are of 3 texts.*got 2"),
    (((4,), (), ()), 1, r"places \(4,\) do not rise from 0 to the 3 characters"),
    (((2, 1), (), ()), 2, r"places \(2, 1\) do not rise"),
    (((-1,), (), ()), 1, "do not rise"),
    (((0,), (), ()), 2, "2 media, and 1 places"),
    (((), (), ()), 0, "0 media, and 0 places"),
  ],
)
def test_places_that_do_not_fit_are_a_fault(places, media, fault):
  found = mixture.fault(("abc", "d", ""), places, media)
  assert (found is None) if fault is None else re.search(fault, found)
