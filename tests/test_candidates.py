"""Several candidates for one question."""

import pytest

from cot_rm.candidates import Candidates
from cot_rm.schema import BadExample, Example, Media


def test_a_pair_of_candidates_is_the_example_of_the_two():
  shown = Candidates.images("a red star", ["a.png", "b.png", "c.png"])
  expected = Example.images("a red star", "c.png", "a.png", id="a red star [2, 0]")
  assert len(shown) == 3 and shown.pair(2, 0) == expected
  clips = Candidates.videos("a cat jumps", ["a.mp4", "b.mp4", "c.mp4"], fps=2.0, id="cat")
  expected = Example.videos("a cat jumps", "a.mp4", "b.mp4", fps=2.0, id="cat [0, 1]")
  assert clips.pair(0, 1) == expected
  texts = Candidates.answers("How many?", ["one", "two", "three"], media="a.png", id="n")
  expected = Example.answers("How many?", "three", "two", media="a.png", id="n [2, 1]")
  assert len(texts) == 3 and texts.pair(2, 1) == expected
  film = Candidates.answers("Who?", ["he", "she"], media=Media("video", "a.mp4"), id="w")
  expected = Example.answers("Who?", "he", "she", media=Media("video", "a.mp4"), id="w [0, 1]")
  assert film.pair(0, 1) == expected
  bare = Candidates.answers("Why?", ["so", "or so"], id="y")
  assert bare.pair(0, 1) == Example.answers("Why?", "so", "or so", id="y [0, 1]")
  source, one, two = (Media("image", name) for name in "sab")
  edits = Candidates.mixed([source, "Make it black."], [one, two])
  expected = Example.mixed([source, "Make it black."], two, one, id="Make it black. [1, 0]")
  assert edits.pair(1, 0) == expected


def test_what_no_judge_could_rank_is_refused_by_its_id():
  with pytest.raises(BadExample, match="'a red star': two or more are needed; got 1"):
    Candidates.images("a red star", ["a.png"])
  with pytest.raises(BadExample, match="'How many\\?': two or more are needed"):
    Candidates.answers("How many?", ["two"])
  with pytest.raises(TypeError, match="'How many\\?': several are needed; found one text"):
    Candidates.answers("How many?", "two")
  for made in (Candidates.images, Candidates.videos, Candidates.mixed):
    with pytest.raises(TypeError, match="'a red star': several are needed; found one text or path"):
      made("a red star", "a.png")
    with pytest.raises(TypeError, match="'a red star': several are needed; found one Media"):
      made("a red star", Media("image", "a.png"))
  with pytest.raises(TypeError, match="not of int"):
    Candidates.answers("How many?", [2, 3])
