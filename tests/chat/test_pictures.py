"""Pictures and videos as they are sent: JPEGs, whatever form they were given in."""

import base64
import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cot_rm import media, schema
from cot_rm.chat import pictures
from cot_rm.prompts import brief
from tests.media import media_files

SENT = pictures.Pictures()


def png(size=(40, 30), colour=(200, 30, 30), comment=None):
  info = PngImagePlugin.PngInfo()
  if comment:
    info.add_text("Comment", comment)
  out = io.BytesIO()
  Image.new("RGB", size, colour).save(out, "PNG", pnginfo=info)
  return out.getvalue()


def opened(part):
  """The picture in a part as it is sent."""
  assert part["type"] == "image_url"
  head, _, data = part["image_url"]["url"].partition(",")
  assert head == "data:image/jpeg;base64"
  image = Image.open(io.BytesIO(base64.b64decode(data)))
  assert image.format == "JPEG"
  return image


def sent(part, settings=SENT):
  (message,) = pictures.openai_messages(
    [{"role": "user", "content": [part, {"type": "text", "text": "which?"}]}], settings, name="x"
  )
  assert message["role"] == "user" and message["content"][-1] == {"type": "text", "text": "which?"}
  return message["content"][:-1]


def test_a_picture_in_any_form_is_the_same_jpeg(tmp_path):
  data = png()
  (tmp_path / "a.png").write_bytes(data)
  forms = (
    data,
    tmp_path / "a.png",
    str(tmp_path / "a.png"),
    "data:image/png;base64," + base64.b64encode(data).decode(),
    Image.open(io.BytesIO(data)),
    np.asarray(Image.open(io.BytesIO(data))),
  )
  parts = [sent({"type": "image", "image": form})[0] for form in forms]
  assert all(part == parts[0] for part in parts)
  image = opened(parts[0])
  assert image.size == (40, 30)
  assert np.abs(np.asarray(image).astype(int) - (200, 30, 30)).max() <= 2


def test_the_quality_is_the_settings():
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  part = {"type": "image", "image": noise}
  tables = [
    opened(sent(part, pictures.Pictures(quality=quality))[0]).quantization[0]
    for quality in (95, 50)
  ]
  # The standard's luminance table begins with 16; from 50 on, quality q scales it by 2 - q / 50.
  assert tables[0][0] == 2 and tables[1][0] == 16


def test_a_large_picture_is_shrunk_to_the_limit_and_keeps_its_shape():
  part = {"type": "image", "image": png((400, 200))}
  image = opened(sent(part, pictures.Pictures(max_pixels=20_000))[0])
  assert image.size == (200, 100)


def test_a_pictures_comment_goes_with_it():
  of = lambda data, settings=SENT: opened(
    sent({"type": "image", "image": data}, settings)[0]
  ).info.get("comment")
  assert of(png(comment="a star")) == b"a star"
  assert of(png(comment="a star"), pictures.Pictures(max_pixels=100)) == b"a star"
  assert of(png()) is None
  out = io.BytesIO()
  Image.new("RGB", (8, 8)).save(out, "JPEG", comment=b"a blue one")
  assert of(out.getvalue()) == b"a blue one"
  assert of(png(comment="x" * 70_000)) is None  # longer than a JPEG can hold


def test_a_video_is_its_frames_behind_a_line_that_counts_them():
  frames = tuple(png(colour=(20 * at, 0, 0)) for at in range(11))
  example = schema.Example(
    "v",
    "s",
    "video_generation",
    "a walk",
    media=(schema.Media("video", frames, 2.0), schema.Media("video", frames[:2], 2.0)),
  )
  (message,) = pictures.openai_messages(
    brief.render(example), pictures.Pictures(max_frames=3), name="example 'v'"
  )
  kinds = [part["type"] for part in message["content"]]
  assert kinds == ["text", *["image_url"] * 3, "text", *["image_url"] * 2, "text"]
  texts = [part["text"] for part in message["content"] if part["type"] == "text"]
  assert texts == ["Video 1, 3 frames:", "Video 2, 2 frames:", "Caption: a walk"]
  reds = [np.asarray(opened(part))[0, 0, 0] for part in message["content"][1:4]]
  np.testing.assert_allclose(reds, [0, 100, 200], atol=3)  # the first, the middle and the last


def test_a_part_of_a_video_file_is_sent_as_the_judge_is_shown_it(tmp_path):
  media_files.encode_video(tmp_path / "a.mp4", media_files.moving(40), rate=10)
  settings = pictures.Pictures(max_frames=3)

  def shown(**fields):
    part = {"type": "video", "video": str(tmp_path / "a.mp4"), **fields}
    head, *frames = sent(part, settings)
    assert head["text"] == "Video 1, 3 frames:"
    return [np.asarray(opened(frame)) for frame in frames]

  whole = [*media.video(tmp_path / "a.mp4", name="x").read(range(40))]
  for got, number in zip(shown(video_start=1.0, video_end=3.0), (10, 20, 30), strict=True):
    assert np.abs(got.astype(int) - np.asarray(whole[number])).mean() < 3
  np.testing.assert_array_equal(shown(), shown(video_start=0))
  for fields in ({"video_start": "1"}, {"video_start": 3.0, "video_end": 2.0}):
    with pytest.raises(schema.BadExample, match="^x: .*video_start"):
      shown(**fields)


def test_a_video_that_is_an_array_is_sent_too(tmp_path):
  np.save(tmp_path / "v.npy", np.zeros((4, 8, 8, 3), np.uint8))
  parts = sent({"type": "video", "video": str(tmp_path / "v.npy"), "fps": 2.0})
  assert [part["type"] for part in parts] == ["text", *["image_url"] * 4]


def test_text_alone_stays_as_it_is():
  chat = [{"role": "system", "content": "be fair"}, {"role": "user", "content": "which?"}]
  assert pictures.openai_messages(chat, SENT, name="x") == chat


def test_a_picture_that_no_jpeg_can_hold_is_bad_media():
  with pytest.raises(schema.BadMedia, match="x: a picture of 70,000x2 pixels cannot be sent"):
    sent({"type": "image", "image": Image.new("RGB", (70_000, 2))})


def test_a_bad_picture_names_its_sample(tmp_path):
  chat = [{"role": "user", "content": [{"type": "image", "image": str(tmp_path / "no.png")}]}]
  with pytest.raises(ValueError, match="example 'e1': picture .* does not exist"):
    pictures.openai_messages(chat, SENT, name="example 'e1'")
  with pytest.raises(ValueError, match="example 'e1': unknown content part 'audio'"):
    pictures.openai_messages(
      [{"role": "user", "content": [{"type": "audio"}]}], SENT, name="example 'e1'"
    )


@pytest.mark.parametrize("knobs", [{"quality": 0}, {"max_pixels": 0}, {"max_frames": 0}])
def test_settings_out_of_range_are_named(knobs):
  with pytest.raises(ValueError, match=f"pictures.{next(iter(knobs))}"):
    pictures.Pictures(**knobs)
