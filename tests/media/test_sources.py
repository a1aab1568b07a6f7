"""Base64 and data URLs: decoded, or refused with the sample."""

import base64

import pytest
from PIL import Image

from cot_rm import media
from cot_rm.schema import BadMedia
from tests.media.media_files import NAME, encoded


def test_base64_is_decoded_or_refused_with_the_sample():
  data = encoded(Image.new("RGB", (2, 2)))
  text = base64.b64encode(data).decode()
  assert media.decode_base64(text, name=NAME) == media.picture_of_base64(text) == data
  assert media.picture_of_base64("pictures/1.png") is media.picture_of_base64("QUJD") is None
  for bad in ("@", "é", ""):
    with pytest.raises(ValueError, match=NAME):
      media.decode_base64(bad, name=NAME)


DATA = encoded(Image.new("RGB", (2, 2)))
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
  "text",
  [
    TEXT,
    f"\n {TEXT[:20]}\r\n{TEXT[20:]}\n",
    TEXT.rstrip("="),
    TEXT.rstrip("=") + "====",
    TEXT.replace("+", "-").replace("/", "_"),
    "\t".join(TEXT),
  ],
)
def test_base64_in_every_writing_is_decoded(text):
  assert media.decode_base64(text, name=NAME) == media.picture_of_base64(text) == DATA


@pytest.mark.parametrize("text", [TEXT[:41], "a b c", "QUJ DE", "Q=JD", "QUJD\x00", "@@@@"])
def test_base64_that_can_be_read_in_two_ways_is_refused(text):
  with pytest.raises(BadMedia, match=f"{NAME}: not base64"):
    media.decode_base64(text, name=NAME)


def test_an_existing_file_is_no_base64(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  name = base64.urlsafe_b64encode(DATA[:60]).decode()
  (tmp_path / name).write_bytes(DATA)
  assert media.picture_of_base64(name) is None and media.is_path(name)
  assert media.encoded_picture(name, name=NAME) == DATA


@pytest.mark.parametrize("path", ["a\0b.png", "a" * 5000, "\ud83d.png", "~", "", "file://", "."])
def test_a_path_that_cannot_be_is_bad_media(path):
  with pytest.raises(BadMedia, match=NAME):
    media.picture(path, name=NAME)


def test_a_record_has_its_bytes_first():
  assert media.unwrapped({"bytes": DATA, "path": "gone.png"}, name=NAME) == DATA
  assert media.unwrapped({"bytes": b"", "path": "a.png"}, name=NAME) == "a.png"
  assert media.unwrapped({"image_url": {"url": "a.png"}}, name=NAME) == "a.png"
  for record in ({}, {"bytes": None}, {"uri": "a.png"}):
    with pytest.raises(BadMedia, match=f"{NAME}: a record of a picture has none of bytes, "):
      media.unwrapped(record, name=NAME)


@pytest.mark.parametrize(
  "head", ["data:image/png;codecs=vp9,opus;base64,", 'data:;name="a,b";BASE64 ,', "data:;base64,"]
)
def test_a_data_url_may_have_commas_in_its_parameters(head):
  assert media.decode_data_url(head + TEXT, name=NAME) == DATA


@pytest.mark.parametrize("url", ["s3://bucket/a.png", "hf://datasets/me/a.png", "GS://b/a.png"])
def test_a_url_of_another_scheme_is_named(url):
  for read in (media.picture, media.video):
    with pytest.raises(BadMedia, match=f"{NAME}: '{url}': URLs of the scheme .* are not read"):
      read(url, name=NAME)


@pytest.mark.parametrize(
  "start", [b"\x1aE\xdf\xa3", b"OggS", b"FLV\x01", b"\x00\x00\x00\x20ftypisom"]
)
def test_base64_of_a_video_is_no_path(start):
  data = start + bytes(range(100))
  assert media.picture_of_base64(base64.b64encode(data).decode()) == data
