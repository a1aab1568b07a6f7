"""GenAI-Bench: votes about pictures and videos."""

import pytest

from cot_rm.data import bad_examples
from tests.published_sets import encoded, preferred

VOTES = ("leftvote", "rightvote", "tievote", "bothbad_vote")


def test_pictures(folder):
  records = [
    {
      "index": i,
      "prompt": "a box",
      "left_model": "m",
      "left_image": {"bytes": encoded("red"), "path": None},
      "right_image": {"bytes": encoded("blue"), "path": None},
      "vote_type": vote,
    }
    for i, vote in enumerate(VOTES)
  ]
  source = folder.open(records, "test-0.parquet")
  assert [(e.id, e.gold, e.task) for e in source] == [
    ("0", 1, "image_generation"),
    ("1", 2, "image_generation"),
  ]
  assert preferred(source[1]) == encoded("blue")
  assert source.counts.left_out == {"tie": 1, "both are bad": 1}
  kept = folder.open(records, "test-0.parquet", ties="keep")
  assert [(e.gold, e.tie) for e in kept] == [(1, False), (2, False), (None, True), (None, True)]
  assert kept[2].swapped().tie and kept[2].extra["vote_type"] == "tievote"


@pytest.mark.parametrize(
  "left, right", [("video_left", "video_right"), ("left_video", "right_video")]
)
def test_videos(folder, left, right):
  folder.media("0.mp4", "1.mp4")
  records = [
    {"id": i, "prompt": "a box", left: "0.mp4", right: "1.mp4", "vote_type": vote}
    for i, vote in enumerate(VOTES)
  ]
  source = folder.open(records, "data.json")
  assert [preferred(e)[-5:] for e in source] == ["0.mp4", "1.mp4"]
  assert source[0].task == "video_generation"
  spelt = [{**records[0], "vote_type": vote} for vote in ("LeftVote", " rightvote\n", "TIEVOTE")]
  assert [e.gold for e in folder.open(spelt)] == [1, 2]


def test_edited_pictures_are_left_out_and_unknown_votes_named(folder):
  record = {"instruct_prompt": "?", "left_output_image": "a.jpg", "right_output_image": "b.jpg"}
  record |= {"source_image": "c.jpg", "vote_type": "leftvote"}
  other = {"prompt": "?", "left_image": "a.jpg", "right_image": "b.jpg", "vote_type": "leftvote"}
  folder.media("a.jpg", "b.jpg")
  source = folder.open([record, other])
  assert len(source) == 1 and list(source.counts.left_out) == [
    "edited: its source cannot be shown beside the candidates"
  ]
  with pytest.raises(bad_examples.TooManyBad, match="'vote_type' must be one of leftvote"):
    folder.open([{**other, "vote_type": "left"}])
