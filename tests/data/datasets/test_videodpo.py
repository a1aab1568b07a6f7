"""VideoDPO's pairs by number."""

import pytest

from cot_rm.data import bad_examples
from tests.published_sets import preferred


def test_numbers_name_the_videos(folder):
  folder.media("winvideos/000000.mp4", "losevideos/000000.mp4", "winvideos/000001.mp4")
  pair = {"video1": 0, "video2": 1, "label": 0, "frame_caption": "it moves"}
  source = folder.open([pair, {**pair, "frame_caption": ["it moves"]}], "pair.json")
  assert [preferred(e)[-20:] for e in source] == ["winvideos/000000.mp4"] * 2
  assert source[1].question == "it moves" and source[0].task == "video_generation"
  for number in (int, str, float):
    numbers = {name: number(n) for name, n in (("video1", 1), ("video2", 2), ("label", 1))}
    (other,) = folder.open([pair | numbers], "pair.json")
    assert preferred(other).endswith("winvideos/000001.mp4")
    assert {m.source[-21:] for m in other.media} >= {"losevideos/000000.mp4"}


def test_an_unknown_label_is_named(folder):
  with pytest.raises(bad_examples.TooManyBad, match="field 'label' must be 0 or 1"):
    folder.open([{"video1": 0, "video2": 1, "label": 2, "frame_caption": "x"}])
