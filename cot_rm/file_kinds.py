"""What a file is that is not the picture, video or data file it should be, by its first bytes."""

LOOKED_AT = 16  # bytes
_STARTS = {
  b"version https://": "a pointer of Git LFS, not the file itself; `git lfs pull` gets it",
  b"/annex/objects/": "a pointer of git-annex, not the file itself; `git annex get` gets it",
  b"\xff\x0a": "JPEG XL, which is not read; convert it to PNG or JPEG",
  b"\x00\x00\x00\x0cJXL ": "JPEG XL, which is not read; convert it to PNG or JPEG",
  b"%PDF": "a PDF; convert its page to a picture",
  b"\x1f\x8b": "packed by gzip; unpack it first",
  b"BZh": "packed by bzip2; unpack it first",
  b"\xfd7zXZ": "packed by xz; unpack it first",
  b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it first",
  b"PK\x03\x04": "a ZIP file; unpack it first",
}
_TEXTS = {  # whatever blanks and a byte order mark stand before them, in any case
  b"<!doctype html": "a web page, such as the error of a download",
  b"<html": "a web page, such as the error of a download",
  b"<svg": "SVG, which is not read; convert it to PNG",
  b"<?xml": "XML, such as SVG or the error of a download",
}


def mistaken(start: bytes) -> str | None:
  """What a file is that is no picture, no video and no data file, in words with advice.

  Args:
    start: its first LOOKED_AT bytes, or more.

  Returns None for any other file.
  """
  text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
  found = (what for begin, what in _STARTS.items() if start.startswith(begin))
  return next(found, None) or next(
    (what for begin, what in _TEXTS.items() if text.startswith(begin)), None
  )
