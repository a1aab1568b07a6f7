"""Video files of all containers and codecs: counted, turned, sought, and damaged."""

import dataclasses
import fractions
import io
import struct

import numpy as np
import pytest

from cot_rm import media, schema
from cot_rm.media import video_files
from tests.media.media_files import NAME, encode_video, frames, moving, write_video

av = pytest.importorskip("av")

OPEN_GOP = "open-gop=1:bframes=3:keyint=6:min-keyint=6:scenecut=0"
KINDS = {
  "h264": {},
  "h264, short groups": dict(options={"g": "5"}),
  "h264, open groups": dict(options={"x264-params": OPEN_GOP}),
  "hevc, open groups": dict(codec="libx265", options={"x265-params": f"{OPEN_GOP}:log-level=none"}),
  "h264, no key but the first": dict(options={"x264-params": "intra-refresh=1:keyint=8"}),
  "h264, interlaced": dict(options={"x264-params": "interlaced=1:keyint=10"}),
  "h264 in mkv": dict(container="matroska", options={"g": "7"}),
  "h264 in mov": dict(container="mov", options={"g": "7"}),
  "h264 in ts": dict(container="mpegts", options={"g": "7"}),
  "h264 in fragments": dict(muxing={"movflags": "frag_keyframe+empty_moov"}, options={"g": "7"}),
  "vp9": dict(container="webm", codec="libvpx-vp9", options={"g": "7", "deadline": "realtime"}),
  "vp8, hidden frames": dict(
    container="webm", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "g": "9"}
  ),
  "mpeg4 in avi": dict(container="avi", codec="mpeg4", max_b_frames=2, gop_size=6),
  "mpeg4 in mp4": dict(codec="mpeg4", max_b_frames=2, gop_size=6),
  "mjpeg": dict(container="avi", codec="mjpeg", pixels="yuvj420p"),
  "prores": dict(container="mov", codec="prores_ks", pixels="yuv422p10le"),
  "ten bits": dict(pixels="yuv420p10le"),
  "no subsampling": dict(pixels="yuv444p"),
  "grey": dict(pixels="gray"),
  "mpeg2": dict(container="mpeg", codec="mpeg2video", rate=25),
  "wmv": dict(container="asf", codec="wmv2"),
  "flv": dict(container="flv", codec="flv"),
  "unequal steps": dict(times=[0, 1, 2, 5, 9, *range(12, 37)], rate=30),
}


def arrays(pictures):
  return [np.asarray(picture) for picture in pictures]


def opened(data):
  return video_files.open_file(data, label="clip", name=NAME)


@pytest.mark.parametrize("kind", KINDS)
def test_any_frame_is_that_of_a_whole_decoding(kind):
  array = moving(30)
  file = opened(encode_video(None, array, **KINDS[kind]))
  assert (file.count, file.size) == (30, (64, 48))
  whole = arrays(dataclasses.replace(file, times=None).read(range(30)))
  limit = 60 if kind == "grey" else 25
  assert np.abs(np.stack(whole).astype(int) - array).mean() < limit
  for numbers in (range(30), [0, 29], [3, 3, 11, 17], [28]):
    for number, got in zip(numbers, arrays(file.read(numbers)), strict=True):
      np.testing.assert_array_equal(got, whole[number], err_msg=f"{kind}, frame {number}")


def test_frames_of_a_long_video_are_sought(monkeypatch):
  file = opened(encode_video(None, moving(90), options={"g": "10", "bf": "2"}))
  decoded = []
  frames = video_files._frames
  monkeypatch.setattr(
    video_files, "_frames", lambda *args: (decoded.append(1) or x for x in frames(*args))
  )
  assert len([*file.read([0, 41, 83])]) == 3
  assert len(decoded) < 25


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(47, 63), (2, 2), (16, 201)])
def test_short_videos_and_odd_sizes(count, size):
  file = opened(
    encode_video(
      None,
      moving(count, 64, 256)[:, : size[0], : size[1]],
      codec="ffv1",
      container="matroska",
      pixels="yuv444p",
    )
  )
  assert (file.count, file.size) == (count, size[::-1])
  assert len([*file.read(range(count))]) == count


def with_matrix(data, *matrix):
  """The mp4 file with another display matrix in the header of its track."""
  at = data.index(b"tkhd") + 4 + 40
  a, b, c, d = (struct.pack(">i", value << 16) for value in matrix)
  zero, one = bytes(4), struct.pack(">i", 1 << 30)
  return data[:at] + a + b + zero + c + d + zero + zero + zero + one + data[at + 36 :]


@pytest.mark.parametrize("matrix, turn", video_files.TURNS.items())
def test_a_display_matrix_turns_the_frames(matrix, turn):
  data = encode_video(None, moving(3))
  [plain] = opened(data).read([1])
  file = opened(with_matrix(data, *matrix))
  [got] = file.read([1])
  assert got.size == file.size
  assert got == plain.transpose(turn)


def test_a_quarter_turn_is_in_the_direction_of_decord():
  """decord 0.6.0 shows a frame of such a matrix, a phone's, with its right side on top."""
  data = with_matrix(encode_video(None, moving(3)), 0, -1, 1, 0)
  [plain] = opened(encode_video(None, moving(3))).read([1])
  [got] = opened(data).read([1])
  np.testing.assert_array_equal(np.asarray(got)[0], np.asarray(plain)[:, -1])


def trimmed(data, start):
  """A copy, without encoding anew, from `start` seconds: an edit list hides what is before."""
  out = io.BytesIO()
  with av.open(io.BytesIO(data)) as old, av.open(out, "w", format="mp4") as new:
    stream = old.streams.video[0]
    copy = new.add_stream_from_template(stream)
    first = int(start / stream.time_base)
    for packet in old.demux(stream):
      if packet.dts is not None:
        packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, copy
        new.mux(packet)
  return out.getvalue()


def test_frames_that_a_cut_hides_are_not_counted():
  data = encode_video(None, moving(30), options={"g": "12"})
  file = opened(trimmed(data, 0.7))
  assert file.count == 23 and file.times is not None
  whole = arrays(opened(data).read(range(7, 30)))
  for number in (0, 4, 5, 22):
    np.testing.assert_array_equal(arrays(file.read([number]))[0], whole[number])


@pytest.mark.parametrize("kind", ["h264 in mkv", "h264 in ts", "h264 in fragments", "mjpeg"])
def test_of_a_file_that_was_cut_the_whole_frames_are_read(kind):
  data = encode_video(None, moving(30), **KINDS[kind])
  file = opened(data[: len(data) * 6 // 10])
  assert 5 < file.count < 28
  assert len([*file.read(range(file.count))]) == file.count


def test_a_frame_lost_to_damage_is_shown_by_the_one_before(caplog):
  data = bytearray(
    encode_video(
      None,
      moving(30),
      codec="ffv1",
      container="matroska",
      pixels="yuv444p",
      options={"slicecrc": "1"},
    )
  )
  whole = opened(bytes(data))
  middle = len(data) // 2
  data[middle : middle + len(data) // 8] = bytes(len(data) // 8)
  file = opened(bytes(data))
  assert len([*file.read(range(file.count))]) == file.count
  assert whole.count == 30


def test_a_file_without_an_average_rate_has_the_guessed_one(monkeypatch, caplog):
  class Stream:
    average_rate, guessed_rate = None, fractions.Fraction(30)

    time_base = None

  assert video_files._rate(Stream(), [None], f"{NAME}: clip") == 30
  assert "no average rate" in caplog.text and NAME in caplog.text
  Stream.guessed_rate = None
  assert video_files._rate(Stream(), [None], f"{NAME}: clip") is None


@pytest.mark.parametrize(
  "container, codec",
  [
    ("webm", "libvpx-vp9"),
    ("matroska", "libx264"),
    ("flv", "libx264"),
    ("mpegts", "libx264"),
    ("asf", "wmv2"),
  ],
)
def test_the_rate_of_a_recording_is_that_of_its_frames(container, codec, caplog):
  """A recorder writes a frame when the screen changes, by a clock of milliseconds."""
  steps = np.random.default_rng(0).integers(30, 500, 29)
  times = [0, *np.cumsum(steps).tolist()]
  data = encode_video(
    None, moving(30), container=container, codec=codec, rate=1000, times=times, framerate=0
  )
  file = opened(data)
  assert file.count == 30
  assert file.fps == pytest.approx(29_000 / times[-1], rel=0.01)
  assert NAME in caplog.text and "by the times of its frames" in caplog.text


def test_a_stated_rate_that_the_frames_keep_is_taken(caplog):
  for container in ("mp4", "matroska", "avi", "mpegts"):
    codec = dict(codec="mpeg4") if container == "avi" else {}
    assert opened(encode_video(None, moving(30), container=container, rate=25, **codec)).fps == 25
  data = encode_video(None, moving(30), container="mpegts", rate=25)
  assert opened(data + data).fps == 25  # joined: the clock starts again
  late = [*range(15), *range(200_000, 200_015)]  # and here it jumps
  assert opened(encode_video(None, moving(30), container="matroska", rate=25, times=late)).fps == 25
  assert not caplog.text


def test_metadata_need_not_be_utf8():
  data = encode_video(None, moving(3), container="matroska")
  assert b"Lavf" in data
  assert opened(data.replace(b"Lavf", b"L\xe9vf")).count == 3


def sound(out):
  stream = out.add_stream("aac", rate=8000)
  frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
  frame.sample_rate, frame.pts = 8000, 0
  for packet in [*stream.encode(frame), *stream.encode()]:
    out.mux(packet)


def test_sound_alone_is_no_video():
  file = io.BytesIO()
  with av.open(file, "w", format="mp4") as out:
    sound(out)
  with pytest.raises(schema.BadMedia, match=f"{NAME}: .*only sound"):
    opened(file.getvalue())


def test_the_first_error_is_about_the_sample():
  for data in (b"", b"x", b"not a video at all" * 10, bytes(100_000)):
    with pytest.raises(schema.BadMedia, match=f"^{NAME}: .*clip"):
      opened(data)


def test_frames_of_a_damaged_size_are_not_allocated(monkeypatch):
  monkeypatch.setattr(video_files, "MAX_FRAME_PIXELS", 1000)
  with pytest.raises(schema.BadMedia, match="64x48 pixels is over 1,000"):
    opened(encode_video(None, moving(3)))


BASES = (
  {},
  dict(muxing={"movflags": "frag_keyframe+empty_moov"}),
  dict(container="matroska"),
  dict(container="webm", codec="libvpx-vp9", options={"deadline": "realtime"}),
  dict(container="avi", codec="mpeg4"),
  dict(container="mpegts"),
  dict(container="avi", codec="mjpeg", pixels="yuvj420p"),
  dict(container="flv", codec="flv"),
  dict(container="mpeg", codec="mpeg2video", rate=25),
  dict(container="gif", codec="gif", pixels="rgb8"),
)


def damaged(data, rng):
  """The bytes cut, with a gap, a hole, or with single bytes replaced."""
  first, last = sorted(rng.integers(0, len(data), 2).tolist())
  kind = rng.integers(5)
  if kind == 0:
    return data[:last]
  if kind == 1:
    return data[:first] + data[last:]
  if kind == 2:
    return data[:first] + bytes(last - first) + data[last:]
  out = np.frombuffer(data, np.uint8).copy()
  within = len(data) if kind == 3 else 600
  out[rng.integers(0, min(within, len(out)), 12)] = rng.integers(0, 256, 12)
  return out.tobytes()


def test_of_400_damaged_videos_each_is_read_or_names_its_sample():
  rng = np.random.default_rng(0)
  files = [encode_video(None, moving(9), **base) for base in BASES]
  bad = 0
  for number in range(400):
    data = damaged(files[number % len(files)], rng)
    try:
      video = media.video(data, name=NAME)
      numbers = sorted({0, video.count // 2, video.count - 1})
      assert {picture.size for picture in video.read(numbers)} == video.sizes(numbers)
    except schema.BadMedia as error:
      assert str(error).startswith(NAME)
      bad += 1
  assert 50 < bad < 350


@pytest.mark.parametrize("name", ["clip:1.mp4", "pipe:0", "concat:a.mp4", "%03d.mp4"])
def test_a_name_is_no_protocol_and_no_pattern(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write_video(tmp_path / "clip.mp4", frames(3, 32, 48), 5)
  (tmp_path / "clip.mp4").rename(tmp_path / name)
  assert media.video(name, name=NAME).count == 3


def test_text_and_a_playlist_are_no_videos(tmp_path):
  (tmp_path / "notes.txt").write_text("a line of text\n" * 5000)
  with pytest.raises(schema.BadMedia, match=f"{NAME}: .*notes.txt.*: it is text"):
    media.video(tmp_path / "notes.txt", name=NAME)
  encode_video(tmp_path / "clip.ts", moving(30), container="mpegts")
  (tmp_path / "clip.m3u8").write_text(
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.ts\n#EXT-X-ENDLIST\n"
  )
  with pytest.raises(schema.BadMedia, match="it is a playlist; give the video that it names"):
    media.video(tmp_path / "clip.m3u8", name=NAME)
