"""Pictures and videos, in every way they are given; bad ones name their sample."""

import base64
import io
import sys

import numpy as np
import pytest
from PIL import Image

from cot_rm import media

NAME = "example 'vl-17'"


def colours(height, width, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **settings):
  out = io.BytesIO()
  image.save(out, kind, **settings)
  return out.getvalue()


def test_a_picture_is_the_same_in_every_form(tmp_path):
  array = colours(20, 30)
  image = Image.fromarray(array)
  data = encoded(image)
  path = tmp_path / "a picture.png"
  path.write_bytes(data)
  url = "data:image/png;base64," + base64.b64encode(data).decode()
  for source in (array, image, data, bytearray(data), path, str(path), f"file://{path}", url):
    got = media.picture(source, name=NAME)
    assert got.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(got), array)


def test_transparent_pixels_become_white():
  clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
  assert media.picture(clear, name=NAME).getpixel((0, 0)) == (255, 255, 255)
  palette = Image.new("P", (4, 4), 0)
  palette.info["transparency"] = 0
  assert media.picture(palette, name=NAME).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
  assert media.picture(Image.new(mode, (5, 7)), name=NAME).mode == "RGB"


def test_a_photograph_is_turned_upright():
  exif = Image.Exif()
  exif[media.ORIENTATION] = 6
  data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
  assert media.picture(data, name=NAME).size == (20, 30)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_damaged_picture_names_the_sample(kind):
  data = encoded(Image.fromarray(colours(40, 50)), kind)
  refused = 0
  for cut in range(0, len(data), max(1, len(data) // 40)):
    try:
      media.picture(data[:cut], name=NAME)
    except ValueError as error:
      assert NAME in str(error)
      refused += 1
  assert refused > 10


@pytest.mark.parametrize(
  "source, words",
  [
    (b"", "0 bytes is no readable picture"),
    ("no/such.png", "does not exist"),
    ("https://example.com/a.png", "download it first"),
    ("data:image/png;base64,@@@@", "is damaged"),
    ("data:image/png,abc", "not base64"),
    (17, "cannot be a int"),
    (Image.new("RGB", (0, 5)), "0x5 pixels"),
    (np.zeros((0, 5, 3), np.uint8), "5x0 pixels"),
    (np.zeros((5, 5, 3), np.float32), "float32"),
  ],
)
def test_a_source_that_is_no_picture_names_the_sample(source, words):
  with pytest.raises(ValueError, match=words) as caught:
    media.picture(source, name=NAME)
  assert NAME in str(caught.value)


def test_a_folder_is_no_picture(tmp_path):
  with pytest.raises(ValueError, match="no readable picture"):
    media.picture(tmp_path, name=NAME)


def test_a_very_wide_picture_opens():
  data = encoded(Image.new("L", (20_000, 150)))
  assert media.picture(data, name=NAME).size == (20_000, 150)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(side):
  data = encoded(Image.new("1", (side, side)))
  with pytest.raises(ValueError, match="shrink it first"):
    media.picture(data, name=NAME)


def frames(count=5, height=8, width=10):
  return np.stack([np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)])


def test_a_video_is_the_same_in_every_form(tmp_path):
  array = frames(12)
  folder = tmp_path / "clip"
  folder.mkdir()
  for i, frame in enumerate(array):
    Image.fromarray(frame).save(folder / f"frame_{i}.png")  # frame_10 comes after frame_9
  (folder / "notes.txt").write_text("no picture")
  np.save(tmp_path / "clip.npy", array)
  pictures = tuple(Image.fromarray(frame) for frame in array)
  for source in (array, folder, str(folder), tmp_path / "clip.npy", pictures, list(pictures)):
    video = media.video(source, fps=3, name=NAME)
    assert (video.count, video.fps) == (12, 3)
    got = video.read([0, 2, 10])
    assert [picture.getpixel((0, 0))[0] for picture in got] == [0, 20, 100]
  assert media.video(array, name=NAME).fps is None


def write_video(path, array, rate):
  av = pytest.importorskip("av")
  with av.open(str(path), "w") as container:
    stream = container.add_stream("mpeg4", rate=rate)
    stream.width, stream.height, stream.pix_fmt = array.shape[2], array.shape[1], "yuv420p"
    for frame in array:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())


def test_a_video_file_says_its_rate(tmp_path):
  write_video(tmp_path / "clip.mp4", frames(9, 32, 48), 5)
  video = media.video(tmp_path / "clip.mp4", name=NAME)
  assert (video.count, video.fps) == (9, 5)
  got = video.read([0, 8])
  assert got[0].size == (48, 32)
  assert abs(got[1].getpixel((20, 20))[0] - 80) < 8
  assert media.video(tmp_path / "clip.mp4", fps=1, name=NAME).fps == 1


def test_a_damaged_video_file_names_the_sample(tmp_path):
  pytest.importorskip("av")
  (tmp_path / "clip.mp4").write_bytes(b"not a video at all" * 10)
  with pytest.raises(ValueError, match=f"{NAME}.*no readable video"):
    media.video(tmp_path / "clip.mp4", name=NAME)


def test_a_video_file_without_pyav_names_the_extra(tmp_path, monkeypatch):
  (tmp_path / "clip.mp4").write_bytes(b"x")
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(ImportError, match=r"cot_rm\[video\]"):
    media.video(tmp_path / "clip.mp4", name=NAME)


@pytest.mark.parametrize(
  "source, fps, words",
  [
    ((), None, "without frames"),
    ("no/such.mp4", None, "does not exist"),
    (np.zeros((2, 3, 3), np.uint8), None, "frames, height, width"),
    (np.zeros((0, 3, 3, 3), np.uint8), None, "frames, height, width"),
    (3.5, None, "cannot be a float"),
    (frames(), 0, "0 frames per second"),
  ],
)
def test_a_source_that_is_no_video_names_the_sample(source, fps, words):
  with pytest.raises(ValueError, match=words) as caught:
    media.video(source, fps=fps, name=NAME)
  assert NAME in str(caught.value)


def test_an_empty_folder_and_a_damaged_npy_name_the_sample(tmp_path):
  with pytest.raises(ValueError, match=f"{NAME}.*without frames"):
    media.video(tmp_path, name=NAME)
  (tmp_path / "a.npy").write_bytes(b"\x93NUMPY damaged")
  with pytest.raises(ValueError, match=f"{NAME}.*no readable .npy"):
    media.video(tmp_path / "a.npy", name=NAME)


def test_a_bad_frame_says_which(tmp_path):
  video = media.video([Image.new("RGB", (4, 4)), b"bad"], name=NAME)
  with pytest.raises(ValueError, match=f"{NAME}: frame 1"):
    video.read([0, 1])


@pytest.mark.parametrize(
  "count, rate, fps, most, numbers, got_fps",
  [
    (5, None, 2, 768, [0, 1, 2, 3, 4], 2),  # already sampled: all of them, odd or not
    (5, 2, 2, 768, [0, 1, 2, 3, 4], 2),
    (5, 1, 2, 768, [0, 1, 2, 3, 4], 1),  # sparser than asked
    (1, None, 2, 768, [0], 2),
    (60, 30, 2, 768, [0, 20, 39, 59], 2),
    (30, 30, 2, 768, [0, 10, 19, 29], 4),  # one second: no fewer than four
    (300, 30, 2, 7, [0, 60, 120, 179, 239, 299], 0.6),  # capped, and even
    (3, 30, 2, 768, [0, 1, 2], 30),
  ],
)
def test_frames_are_thinned_by_qwens_rule(count, rate, fps, most, numbers, got_fps):
  got = media.sample_frames(count, rate, fps=fps, max_frames=most, multiple=2)
  assert got[0] == numbers
  assert got[1] == pytest.approx(got_fps)


def test_too_few_frames_to_fill_a_patch_is_an_error():
  with pytest.raises(ValueError, match="max_frames is 1 .*, less than the 2 frames"):
    media.sample_frames(5, 2, fps=2, max_frames=1, multiple=2)


def test_encoded_bytes_are_stored_as_given(tmp_path):
  data = b"\x89PNG, not decoded"
  (tmp_path / "a.png").write_bytes(data)
  url = "data:image/png;base64," + base64.b64encode(data).decode()
  for source in (data, bytearray(data), url, tmp_path / "a.png", f"file://{tmp_path / 'a.png'}"):
    assert media.encoded_picture(source, name=NAME) == data
  assert media.encoded_frames([data, url], name=NAME) == [data, data]


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "CMYK", "F"])
def test_a_picture_in_memory_is_stored_as_a_png(mode):
  image = Image.fromarray(colours(4, 5)).convert("L").convert(mode)
  stored = media.encoded_picture(image, name=NAME)
  assert stored.startswith(b"\x89PNG")
  np.testing.assert_array_equal(media.picture(stored, name=NAME), media.picture(image, name=NAME))
  array = colours(4, 5)
  np.testing.assert_array_equal(
    media.picture(media.encoded_picture(array, name=NAME), name=NAME), array
  )


def test_a_file_that_cannot_be_stored_names_the_sample(tmp_path):
  with pytest.raises(ValueError, match=f"{NAME}: picture '.*none.png' cannot be read"):
    media.encoded_picture(tmp_path / "none.png", name=NAME)
  (tmp_path / "clip.mp4").write_bytes(b"x")
  with pytest.raises(ValueError, match=f"{NAME}: a video is stored frame by frame"):
    media.encoded_frames(tmp_path / "clip.mp4", name=NAME)


def test_base64_is_decoded_or_refused_with_the_sample():
  data = encoded(Image.new("RGB", (2, 2)))
  text = base64.b64encode(data).decode()
  assert media.decode_base64(text, name=NAME) == media.picture_of_base64(text) == data
  assert media.picture_of_base64("pictures/1.png") is media.picture_of_base64("QUJD") is None
  for bad in ("@", "é", ""):
    with pytest.raises(ValueError, match=NAME):
      media.decode_base64(bad, name=NAME)


def test_a_thumbnail_is_a_small_copy():
  image = Image.new("RGB", (100, 50), "red")
  found = media.picture(media.thumbnail_url(image, 20), name=NAME)
  assert found.size == (20, 10) and image.size == (100, 50)
  assert found.getpixel((3, 3)) == (255, 0, 0)
