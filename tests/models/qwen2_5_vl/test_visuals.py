"""Pictures and videos by their headers: lengths without pixels, sizes as other people's code."""

import dataclasses
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.batch import Size
from cot_rm.models.qwen2_5_vl import config as config_lib
from cot_rm.models.qwen2_5_vl import pixels, visuals
from cot_rm.models.qwen2_5_vl import processor as processor_lib
from cot_rm.models.qwen2_5_vl import settings as settings_lib
from cot_rm.schema import BadExample, BadMedia, Example, Media
from cot_rm.toy_world import world as toy_world
from tests.media import media_files


def picture(height=84, width=84, seed=0):
  return Image.fromarray(media_files.colours(height, width, seed))


def turned(height, width):
  """A JPEG whose EXIF data says that it must be turned by 90 degrees."""
  exif, out = Image.Exif(), io.BytesIO()
  exif[0x0112] = 6
  picture(height, width).save(out, "JPEG", exif=exif)
  return out.getvalue()


def turned_late(height, width):
  """A PNG whose EXIF data, behind its pixels, says that it must be turned."""
  data = media_files.encoded(picture(height, width))
  chunk = b"eXIf" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
  exif = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
  return data[:-12] + exif + data[-12:]


def user(*parts):
  return [{"role": "user", "content": list(parts)}]


def image(source, **fields):
  return {"type": "image", "image": source, **fields}


def video(source, **fields):
  return {"type": "video", "video": source, **fields}


def test_measured_lengths_are_those_of_the_encoded_prompt(processor, tmp_path):
  media_files.write_video(tmp_path / "clip.mp4", media_files.frames(9, 64, 96), 5)
  chats = (
    [{"role": "user", "content": "a star"}],
    user(image(picture(300, 90)), {"type": "text", "text": "red"}, image(turned(90, 300))),
    user(image(turned_late(90, 300))),
    user(image(picture(500, 500), max_pixels=28 * 28 * 9)),
    user(video([turned(60, 200)] * 5, fps=4), image(media_files.colours(60, 60))),
    user(video(tmp_path / "clip.mp4"), {"type": "text", "text": "star"}),
  )
  for chat in chats:
    encoded = processor(chat, id="t")
    assert processor.measure(chat, id="t") == Size(len(encoded.tokens), len(encoded.patches))


def test_exif_data_behind_the_pixels_turn_a_picture():
  assert media.picture(turned_late(90, 300), name="t").size == (90, 300)
  assert media.picture_size(turned_late(90, 300), name="t") == (90, 300)


def test_lengths_are_measured_without_a_pixel(processor, monkeypatch):
  def refuse(*args, **kwargs):
    raise AssertionError("pixels are read")

  monkeypatch.setattr(pixels, "resize", refuse)
  monkeypatch.setattr(Image.Image, "convert", refuse)
  cut = media_files.encoded(picture(280, 280))[:5000]  # the header is whole, the pixels are not
  assert processor.measure(user(image(cut)), id="t").patches == 400


def test_errors_of_measuring_are_those_of_encoding(processor):
  for chat in (
    user(image(b"\x89PNG")),
    user(image("none.png")),
    user({"type": "image"}),
    user(image(Image.new("L", (20_000, 50)))),
    user(video([picture(56, 56), picture(56, 84)])),
    user({"type": "text", "text": "<|im_end|>"}),
  ):
    with pytest.raises(ValueError) as encoding:
      processor(chat, id="vl-17")
    with pytest.raises(ValueError) as measuring:
      processor.measure(chat, id="vl-17")
    assert str(measuring.value).split("<_io")[0] == str(encoding.value).split("<_io")[0]
    assert type(measuring.value) is type(encoding.value)
    assert str(measuring.value).startswith("example 'vl-17': ")


@pytest.mark.parametrize("mode", media.frames.MODES)
def test_a_blank_video_has_the_frames_and_sizes_of_its_own(processor, tmp_path, mode):
  media_files.encode_video(tmp_path / "clip.mp4", media_files.moving(30))
  settings = dataclasses.replace(processor.settings, video=media.VideoRules(mode))
  judge = processor_lib.Processor(
    processor.folder, processor.config, settings, processor._tokenizer
  )
  for fields in ({}, {"nframes": 4}, {"video_start": 1.0}, {"fps": 4.0}):
    medium = Media(
      "video",
      tmp_path / "clip.mp4",
      fields.get("fps"),
      {key: value for key, value in fields.items() if key != "fps"},
    )
    asked = Example("a", "s", "video_understanding", "?", (medium,), ("a", "b"))
    sizes, positions = [], []
    for one in (asked, toy_world.blank(asked)):
      [shown] = one.media
      chat = user(video(shown.source, fps=shown.fps, **shown.settings))
      encoded = judge(chat, id="t")
      assert judge.measure(chat, id="t") == (len(encoded.tokens), len(encoded.patches))
      sizes.append(encoded.patches.shape)
      positions.append(encoded.positions)
    assert sizes[0] == sizes[1]
    np.testing.assert_array_equal(*positions)
    assert len(np.unique(encoded.patches)) < 60  # plain frames of few shades


def test_numbers_of_numpy_are_numbers(processor, tmp_path):
  media_files.encode_video(tmp_path / "clip.mp4", media_files.moving(30))
  for fields in ({"nframes": 6}, {"fps": 4.0}, {"max_pixels": 3136, "video_start": 1.5}):
    given = {key: np.array(value).reshape(())[()] for key, value in fields.items()}
    assert all(isinstance(value, np.generic) for value in given.values())
    encoded = [
      processor(user(video(tmp_path / "clip.mp4", **part)), id="t") for part in (fields, given)
    ]
    np.testing.assert_array_equal(encoded[0].patches, encoded[1].patches)
    np.testing.assert_array_equal(encoded[0].positions, encoded[1].positions)
  medium = Media("video", "clip.mp4", np.float32(2), {"nframes": np.int64(4)})
  assert medium == Media("video", "clip.mp4", 2.0, {"nframes": 4})
  assert type(medium.fps) is float and type(medium.settings["nframes"]) is int


VISION = config_lib.VisionConfig()
RELEASED = settings_lib.Settings(min_pixels=4 * 28 * 28, max_pixels=16384 * 28 * 28)
GOLDEN = {
  mode: json.loads(
    (pathlib.Path(__file__).parents[2] / "golden" / f"video_frames_{mode}.json").read_text()
  )
  for mode in media.frames.MODES
  if mode != "flat"
}


def planned(part, mode="qwen_vl_utils", **rules):
  settings = dataclasses.replace(RELEASED, video=media.VideoRules(mode, **rules))
  return visuals.visual(part, VISION, settings, media.DEFAULT, "example 'a'")


def of_file(monkeypatch, count, rate, height, width):
  """Every video is a file of `count` frames; reading gives the numbers of those chosen."""
  opened = media.Video(count, rate, True, list, lambda numbers: {(width, height)})
  monkeypatch.setattr(media, "video", lambda *args, **kwargs: opened)


@pytest.mark.parametrize("mode", GOLDEN)
def test_frames_and_sizes_of_video_files_are_other_peoples(mode, monkeypatch):
  assert len(GOLDEN[mode]["files"]) > 25
  for case in GOLDEN[mode]["files"]:
    of_file(monkeypatch, *case["video"])
    part = video("clip.mp4", **case["fields"])
    if case["indices"] is None:
      with pytest.raises(BadMedia, match="^example 'a': .*\\d"):
        planned(part, mode)
      continue
    got = planned(part, mode)
    assert got.read() == case["indices"], case
    assert list(got.sizes[-1]) == case["size"], case
    count, rate = case["video"][:2]
    if not {"video_start", "video_end"} & {*case["fields"]}:
      assert got.seconds == pytest.approx(2 / (len(case["indices"]) / count * rate))


@pytest.mark.parametrize("mode", [mode for mode in GOLDEN if mode != "transformers"])
def test_sizes_of_given_frames_are_those_of_qwen_vl_utils(mode):
  for case in GOLDEN[mode]["lists"]:
    count, height, width = case["video"]
    frames = [Image.new("RGB", (width, height))] * count
    got = planned(video(frames, **case["fields"]), mode)
    assert list(got.sizes[-1]) == case["size"], case
    assert got.grid[0] * 2 == case["frames"]  # the last is shown twice where there is no pair


@pytest.mark.parametrize("mode", [mode for mode in GOLDEN if mode != "transformers"])
def test_pixels_of_given_frames_are_those_of_qwen_vl_utils(mode):
  case = GOLDEN[mode]["pixels"]
  y, x = np.mgrid[:70, :100]
  frames = [np.stack([x * 3 + 9 * i, y * 5, x * y // 7 + i], -1) % 256 for i in range(3)]
  item = planned(video([frame.astype(np.uint8) for frame in frames], **case["fields"]), mode)
  resized = item.read()
  for size in item.sizes:
    resized = [pixels.resized(frame, size, 3) for frame in resized]
  got = np.stack([np.asarray(frame).transpose(2, 0, 1)[:, ::7, ::7] for frame in resized])
  np.testing.assert_allclose(got.astype(int), np.array(case["values"])[:3], atol=1)
  want = pixels.patches(np.stack([*map(np.asarray, resized)]), patch=14, merge=2, temporal=2)
  np.testing.assert_array_equal(visuals.patches(item, VISION, RELEASED), want)


def test_a_small_video_has_the_tokens_of_qwens_bounds(monkeypatch):
  of_file(monkeypatch, 48, 24.0, 96, 128)  # two seconds: four frames
  assert planned(video("small.mp4")).tokens == 280
  assert planned(video("small.mp4"), "flat").tokens == 2 * 3 * 5  # as pictures
  assert planned(video("small.mp4"), min_pixels=784, max_pixels=20 * 784).tokens == 2 * 12 + 6


def test_a_flat_video_is_sampled_from_its_frames(monkeypatch):
  frames = [Image.new("RGB", (56, 56))] * 40
  assert planned(video(frames, fps=8), "flat").grid == (5, 2, 2)
  assert planned(video(frames, fps=8, nframes=6), "flat").grid[0] == 3
  assert planned(video(frames, fps=8)).grid[0] == 20
  assert (
    planned(video(frames, sample_fps=8)).seconds == planned(video(frames, fps=8)).seconds == 0.25
  )


def test_a_picture_may_ask_for_its_size():
  assert planned(image(picture(500, 500), resized_height=100, resized_width=60)).sizes == (
    (112, 56),
  )


@pytest.mark.parametrize(
  "fields, words",
  [
    ({"nframes": "8"}, "nframes is '8'"),
    ({"max_pixels": -5}, "max_pixels is -5"),
    ({"min_frames": True}, "min_frames is True"),
    ({"video_start": float("nan")}, "video_start is nan"),
    ({"fps": 0}, "0 frames per second"),
    ({"fps": [1]}, r"\[1\] frames per second"),
    ({"resized_height": 56}, "give both"),
    ({"fps": 2, "nframes": 4}, "both fps and nframes"),
    ({"min_pixels": 900 * 784, "max_pixels": 4 * 784}, "check min_pixels"),
  ],
)
def test_a_wrong_setting_of_a_part_names_the_sample(fields, words, monkeypatch):
  of_file(monkeypatch, 40, 10.0, 56, 56)
  with pytest.raises(BadExample, match=f"^example 'a': .*{words}"):
    planned(video("clip.mp4", **fields))


def test_keys_of_other_clients_change_nothing():
  assert planned(image(picture(), detail="high", cache_control={})).tokens == 9


def test_the_rules_of_videos_are_kept_with_the_processor(folder, tmp_path):
  rules = dict(mode="qwen_vl_utils_0.0.8", total_pixels=784 * 100)
  processor = processor_lib.Processor.load(folder, video=rules)
  processor.save(tmp_path / "new")
  got = processor_lib.Processor.load(tmp_path / "new", video=dict(mode=None, min_frames=2))
  assert got.settings.video == media.VideoRules(**rules, min_frames=2)
