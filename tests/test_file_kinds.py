"""A file that is not what it should be is named by its first bytes."""

import io
import zipfile

import pytest
from PIL import Image

from cot_rm import file_kinds, media, records, schema
from tests.media.media_files import NAME, encoded

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n <!DOCTYPE HTML><html><body>404 Not Found</body></html>"


def zipped():
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w") as file:
    file.writestr("a.png", encoded(Image.new("RGB", (2, 2))))
  return out.getvalue()


WRONG = [
  (LFS, "git lfs pull"),
  (PAGE, "a web page"),
  (b"\xff\x0a" + bytes(50), "JPEG XL"),
  (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
  (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
  (b"%PDF-1.7\n", "PDF"),
  (b"\x1f\x8b\x08" + bytes(50), "gzip"),
  (zipped(), "ZIP"),
]


@pytest.mark.parametrize("content, words", WRONG)
@pytest.mark.parametrize("read", [media.picture, media.video])
def test_what_is_no_picture_and_no_video_is_named(content, words, read, tmp_path):
  (tmp_path / "1.dat").write_bytes(content)
  with pytest.raises(schema.BadMedia, match=f"^{NAME}: .*1.dat.* it is .*{words}"):
    read(tmp_path / "1.dat", name=NAME)


@pytest.mark.parametrize("content, words", WRONG)
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".arrow", ".yaml"])
def test_what_is_no_data_file_is_named(content, words, suffix, tmp_path):
  (tmp_path / f"train{suffix}").write_bytes(content)
  with pytest.raises(ValueError, match=f"train{suffix}: no data file: it is .*{words}"):
    records.open(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_pictures_are_not_mistaken(kind):
  assert file_kinds.mistaken(encoded(Image.new("RGB", (9, 9)), kind)) is None
