"""A judge's prompt, media and answer to a pair."""

import pytest

from cot_rm.data.datasets import judged
from cot_rm.data.datasets.pair import LeftOut
from cot_rm.schema import BadRecord, Media

CAPTION = "Compare these images. Text Caption: [a box]"
VIDEOS = "Compare these videos. Text Caption: [a box]"
THOUGHT = "<think>so</think><answer>1</answer>"
ANSWERS = "Judge.\nQuestion: [How many?]\nAnswer 1: [one]\nAnswer 2: [two]"


def pair(make_row, prompt, record, **arguments):
  (one,) = judged.pair(make_row(record), prompt, **arguments)
  return one


def test_media_of_the_usual_fields(make_row):
  kinds = lambda record: [m.kind for m in judged.fields(make_row(record))]
  assert kinds({"images": ["a.jpg", "b.jpg"]}) == ["image", "image"]
  assert kinds({"image": "a.jpg", "video": "v.mp4"}) == ["video", "image"]
  assert kinds({"video": ["0.jpg", "1.jpg"]}) == ["video"]
  assert kinds({"images": ["a.mp4", "b.mp4"]}) == ["video", "video"]
  assert kinds({"images": [], "image": None}) == []


def test_frames_become_videos_by_the_wording_of_the_prompt(make_row):
  images = {"images": [f"{i}.jpg" for i in range(16)]}
  one = pair(make_row, VIDEOS, images, solution="Video 1 is better")
  assert one.task == "video_generation" and [len(m.source) for m in one.candidates] == [8, 8]
  one = pair(make_row, ANSWERS.replace("Judge.", "See the video."), images, solution="2")
  assert one.task == "video_understanding" and len(one.media) == 1 and one.gold == 2
  one = pair(make_row, ANSWERS, {"images": ["a.jpg", "b.jpg"]}, answer=THOUGHT)
  assert one.task == "image_understanding" and len(one.media) == 2
  assert one.reasoning == THOUGHT


def test_a_wrong_number_of_media_is_named(make_row):
  with pytest.raises(BadRecord, match="image_generation compares two images; found 3"):
    pair(make_row, CAPTION, {"images": ["a", "b", "c"]}, solution="1")
  with pytest.raises(BadRecord, match="7 frames cannot be two videos"):
    pair(make_row, VIDEOS, {"images": list("abcdefg")}, solution="1")


def test_answers_without_a_verdict_are_left_out(make_row):
  record = {"images": ["a", "b"]}
  left_out = lambda answer: pair(make_row, CAPTION, record, answer=answer)
  assert left_out("I like both.") == LeftOut("no verdict in the answer")
  assert left_out("Both images are equally good.") == LeftOut("tie")
  assert left_out("<think>cut") == LeftOut("no verdict in the answer's tags")
  assert pair(make_row, CAPTION, record, media=[Media("image", "x")] * 2).gold is None
