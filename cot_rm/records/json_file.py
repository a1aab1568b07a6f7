"""Records of a JSON file of any form: lines, objects over several lines, an array."""

import json
import pathlib
from collections.abc import Sequence

from cot_rm.records import json_scan
from cot_rm.records.compressed import Plain
from cot_rm.records.parts import Part
from cot_rm.schema import BadRecord

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class JsonFile(Part):
  """The records of a JSON file; only their offsets are held in memory."""

  def __init__(self, path: pathlib.Path, folders: Sequence[pathlib.Path] = ()):
    super().__init__(path, folders)
    self._plain = Plain(path)
    with self._plain.open() as file:
      if file.read(2) in _UTF16:
        raise ValueError(f"{path}: is UTF-16; JSON is UTF-8: convert it first")
      self._spans = json_scan.scan(file)
    if self._spans.form == "lines":
      self.unit = "line"

  def __len__(self) -> int:
    return len(self._spans.starts_N)

  def where(self, index: int) -> str:
    return f"{self.path}, {self.unit} {self._spans.numbers_N[index]}"

  def read(self, index: int) -> object:
    start, end = int(self._spans.starts_N[index]), int(self._spans.ends_N[index])
    with self._plain.open() as file:
      file.seek(start)
      content = file.read(end - start)
    try:
      return json.loads(content.decode("utf-8"), strict=False)
    except UnicodeDecodeError as error:
      raise BadRecord(f"{self.where(index)}: not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
      place = f"column {error.colno}"
      place = f"line {error.lineno} of the record, {place}" if error.lineno > 1 else place
      raise BadRecord(f"{self.where(index)}: not JSON: {error.msg} at {place}") from error
    except (ValueError, RecursionError) as error:  # thousands of digits, thousands of brackets
      raise BadRecord(f"{self.where(index)}: not JSON that can be read: {error}") from error
