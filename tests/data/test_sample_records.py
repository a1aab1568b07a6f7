"""What the report shows of a judgement: its words, its marks, its pictures small enough to keep."""

import base64
import io
import json
import logging

import numpy as np
from PIL import Image

from cot_rm import schema
from cot_rm.data import sample_records
from cot_rm.report import sample_cards


def sample(media, verdict=None):
  task = f"{media[0].kind}_{'generation' if len(media) == 2 else 'understanding'}"
  example = schema.Example("e-1", "mine", task, "a cat", media=media, gold=2)
  done = schema.Completion("it is the second", np.arange(3), np.zeros(3), "stop")
  return sample_records.to_record(
    example, done, verdict or schema.Verdict(2), {"total": np.float32(1 / 3), "format": 1}
  )


def opened(url):
  head, _, body = url.partition(",")
  assert head == "data:image/png;base64"
  return Image.open(io.BytesIO(base64.b64decode(body)))


def test_a_record_is_json_and_says_what_was_asked_and_answered():
  picture = schema.Media("image", Image.new("RGB", (40, 30), "red"))
  found = sample((picture, picture), schema.Verdict(None, error="no answer"))
  assert json.loads(json.dumps(found)) == found
  assert found["id"] == "e-1" and found["question"] == "a cat" and found["gold"] == 2
  assert found["text"] == "it is the second" and found["answer"] is None
  assert found["rewards"] == {"total": 0.3333, "format": 1.0}
  assert found["reasoning_ok"] == "no answer" and len(found["media"]) == 2


def test_a_large_picture_is_shrunk_and_the_given_one_is_not_touched():
  large = Image.new("RGB", (1000, 500), "blue")
  found = sample((schema.Media("image", large),))
  assert opened(found["media"][0]).size == (224, 112) and large.size == (1000, 500)
  small = sample((schema.Media("image", Image.new("RGB", (40, 30))),))
  assert opened(small["media"][0]).size == (40, 30)


def test_a_long_video_is_a_few_frames_evenly_spread():
  frames = np.zeros((33, 28, 28, 3), np.uint8)
  frames[:, 0, 0, 0] = range(33)
  found = sample((schema.Media("video", frames, 2.0),))
  shown = [opened(url).getpixel((0, 0))[0] for url in found["media"][0]]
  assert len(shown) <= 8 and shown == sorted(set(shown))
  assert shown[0] == 0 and shown[-1] >= 28
  short = sample((schema.Media("video", frames[:3], 2.0),))
  assert len(short["media"][0]) == 3


def test_the_record_of_a_mixture_says_where_its_media_stand():
  picture = schema.Media("image", Image.new("RGB", (40, 30), "red"))
  pair = schema.Example.mixed(["Draw ", picture], picture, picture)
  done = schema.Completion("it is the second", np.arange(3), np.zeros(3), "stop")
  found = sample_records.to_record(pair, done, schema.Verdict(2), {})
  assert found["places"] == [[5], [0], [0]] and len(found["media"]) == 3
  assert "places" not in sample((picture, picture))


def test_a_picture_that_is_gone_leaves_the_judgement(caplog):
  """Figures are computed from kept answers also when the network is not there."""
  made = tuple(schema.Media("video", f"https://example.invalid/{name}.mp4") for name in "ab")
  with caplog.at_level(logging.WARNING):
    found = sample(made)
  assert found["media"] == [[], []] and found["text"] == "it is the second"
  assert "example 'e-1'" in caplog.text and "config.data.http" in caplog.text
  assert sample_cards.card(found).media == [[], []]
