"""Finds the pictures and videos that a record names, wherever they were unpacked."""

import os
import pathlib
from collections.abc import Iterator, Sequence

from cot_rm import media
from cot_rm.records.parts import UNREAD
from cot_rm.schema import BadMedia, BadRecord, ImageSource, VideoSource

# Folders beside a data file in which its media are looked for.
SUBFOLDERS = tuple("images image imgs img videos video frames merged_images media".split())
VIDEO_SUFFIXES = (".mp4", ".webm", ".avi", ".mov", ".mkv", ".gif", ".m4v", ".ogv", ".npy")
PICTURE_SUFFIXES = (*media.PICTURE_SUFFIXES, ".avif", ".jfif", ".heic")
ABOVE = 3  # folders above that of the data file which may be the root of its paths
_PICTURE_KEYS = ("bytes", "base64", "data", "path", "image", "url", "image_url")  # of a record
SHORTEST_BASE64 = 64  # characters; a shorter text is a path


class MediaFiles:
  """Where the media of one data file may be.

  A name is looked for in this order; the first that exists is taken:

      1. as it is, if it is an absolute path
      2. in the folders that were given with the file (image_folder of a YAML list)
      3. in the folder of the data file, then in those above it; in each of them
         first itself, then a subfolder of the data file's name ("train" for train.json), then
         SUBFOLDERS
      4. the same without the first part of the name, if that is one of SUBFOLDERS; without as many
         leading parts as needed, if the name is an absolute path, which is of another machine

  Args:
    file: the data file.
    folders: given with it.
  """

  def __init__(self, file: pathlib.Path, folders: Sequence[pathlib.Path] = ()):
    self.file = file
    base = file.parent.absolute()
    bases = [base, *list(base.parents)[:ABOVE]]
    bases = [folder for folder in bases if folder != folder.parent]  # not the whole disk
    stem = file.name.split(".")[0]
    near = [folder / sub for folder in bases for sub in ("", stem, *SUBFOLDERS)]
    self.folders = [str(folder) for folder in (*folders, *near)]
    self._exists: dict[str, bool] = {}

  def find(self, name: str, where: str, suffixes: Sequence[str] = ("",)) -> str:
    """The path of a picture, a video or a folder of frames.

    Args:
      name: as the record has it.
      where: names the record in errors.
      suffixes: that the name may lack.

    Raises BadMedia, naming the record and the path, if there is none.
    """
    for tail in _tails(name):
      for folder in self.folders if not os.path.isabs(tail) else [""]:
        if folder and not self._is_folder(folder):
          continue
        for suffix in suffixes:
          path = os.path.join(folder, tail + suffix)
          if os.path.exists(path):
            return path
    raise BadMedia(
      f"{where}: no such file: {os.path.join(self.file.parent, name)[:300]}, nor in the folders "
      f"{', '.join(SUBFOLDERS)} there and up to {ABOVE} folders above; a YAML list of files gives "
      f"another folder (image_folder)"
    )

  def _is_folder(self, folder: str) -> bool:
    if folder not in self._exists:
      self._exists[folder] = os.path.isdir(folder)
    return self._exists[folder]


def picture(value: object, files: MediaFiles | None, where: str) -> ImageSource:
  """The source of a picture; files None: it is not looked for. Raises BadRecord, BadMedia."""
  if isinstance(value, dict):
    return picture(next((value[k] for k in _PICTURE_KEYS if value.get(k)), None), files, where)
  if isinstance(value, list | tuple) and len(value) == 1:
    return picture(value[0], files, where)
  if isinstance(value, bytes | bytearray) and value:
    return bytes(value)
  if not isinstance(value, str) or not value.strip():
    raise BadRecord(f"{where}: must be a picture's path or bytes, not {value!r:.80}")
  if _is_url(value):
    return value
  if len(value) >= SHORTEST_BASE64 and "." not in value[-6:]:
    decoded = media.picture_of_base64("".join(value.split())) if files else UNREAD
    if decoded:
      return decoded
  return _path(value, files, where)


def video(value: object, files: MediaFiles | None, where: str) -> VideoSource:
  """The source of a video; files None: it is not looked for. Raises BadRecord, BadMedia."""
  if isinstance(value, dict):
    value = next(
      (value[k] for k in ("bytes", "path", "video", "url", "frames") if value.get(k)), None
    )
  if isinstance(value, bytes | bytearray) and value:
    return bytes(value)
  if isinstance(value, list | tuple) and value:
    if len(value) == 1 and not names_media(value[0], PICTURE_SUFFIXES):
      return video(value[0], files, where)
    return tuple(picture(frame, files, where) for frame in value)
  if not isinstance(value, str) or not value.strip():
    raise BadRecord(f"{where}: must be a video's path or frames, not {value!r:.80}")
  if _is_url(value):
    return value
  stem, suffix = os.path.splitext(value)
  if suffix.lower() not in VIDEO_SUFFIXES:
    return _path(value, files, where, ("", *VIDEO_SUFFIXES))
  try:
    return _path(value, files, where)
  except BadMedia:
    if files is None:
      raise
    try:  # its frames may have been taken out
      return files.find(stem, where)
    except BadMedia:
      return files.find(value, where)


def names_media(value: object, suffixes: Sequence[str]) -> bool:
  """Whether a value is a path or URL with one of the suffixes."""
  return (
    isinstance(value, str) and "\n" not in value and value.strip().lower().endswith(tuple(suffixes))
  )


def is_video_file(value: object) -> bool:
  """Whether a value is a path or URL of a video file, and of no picture."""
  return names_media(value, VIDEO_SUFFIXES) and not names_media(value, PICTURE_SUFFIXES)


def _path(value: str, files: MediaFiles | None, where: str, suffixes: Sequence[str] = ("",)) -> str:
  value = value.strip()
  if _is_file_url(value):
    value = str(media.local_path(value, name=where))
  if "\0" in value or len(value) > 4096:
    raise BadRecord(f"{where}: no path: {value[:80]!r}")
  return files.find(value, where, suffixes) if files else value


def _is_url(value: str) -> bool:
  return value[:5].lower() == "data:" or "://" in value[:12] and not _is_file_url(value)


def _is_file_url(value: str) -> bool:
  return value[:5].lower() == "file:"


def _tails(name: str) -> Iterator[str]:
  yield name
  parts = pathlib.PurePosixPath(name.replace("\\", "/")).parts
  if os.path.isabs(name) or name[1:3] == ":\\":
    for start in range(1, len(parts)):
      yield "/".join(parts[start:])
  elif len(parts) > 1 and parts[0] in SUBFOLDERS:
    yield "/".join(parts[1:])
