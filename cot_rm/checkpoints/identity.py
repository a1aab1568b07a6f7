"""Identity of a model by content: of its weights, and of its tokenizer and processor files."""

import json
import os
import zlib
from collections.abc import Iterator

from etils import epath

from cot_rm import files
from cot_rm.checkpoints import huggingface, model_folder

SAMPLE = 1 << 12  # bytes that are hashed of each tensor, in its middle
# Files that say what is in the weights files, and weights in formats without named tensors.
PATTERNS = ("config.json", "*.index.json", "adapter_config.json", "*.bin", "*.gguf")
ADAPTER, BASE = "adapter_config.json", "base_model_name_or_path"


def model_identity(source: epath.PathLike) -> str | None:
  """A hash of a model's weights and sizes, which tells it from others that were at its path.

  It is the CRC of the fingerprint of a model folder, the commit of a hub id, and for a Hugging Face
  folder a hash of config.json and of each weights file: its header, its size and a sample of every
  tensor. None: the model is not there, and the hub cannot be asked.
  """
  folder = _folder(source)
  if folder is None:
    return None
  if (info := folder / model_folder.INFO).exists():
    return f"{zlib.crc32(info.read_bytes()):08x}"
  if folder.parent.name == "snapshots":  # of the hub's cache, by commit
    return folder.name
  return files.digest(*(part.encode() for part in _parts(folder)))


def processor_identity(source: epath.PathLike) -> str | None:
  """A hash of the tokenizer and processor files of a model, which decide what is asked of it."""
  folder = _folder(source)
  if folder is None:
    return None
  found = {file.name: file for pattern in huggingface.FILES for file in folder.glob(pattern)}
  return files.digest(
    *(f"{name} {files.bytes_hash(found[name].read_bytes())}".encode() for name in sorted(found))
  )


def _folder(source: epath.PathLike) -> epath.Path | None:
  try:
    return huggingface.resolve(source)
  except FileNotFoundError:
    return None


def _parts(folder: epath.Path) -> Iterator[str]:
  for file in sorted(folder.glob("*.safetensors")):
    yield f"{file.name} {_tensors_hash(file)}"
  for pattern in PATTERNS:
    for file in sorted(folder.glob(pattern)):
      yield f"{file.name} {files.content_hash(file)}"
  if (adapter := folder / ADAPTER).is_file():
    base = str(_json(adapter).get(BASE) or "")
    yield f"base {model_identity(base) or base}"


def _tensors_hash(file: epath.Path) -> str:
  """Hash of a safetensors file: size, header, and the middle of every tensor."""
  size = os.path.getsize(file)
  with open(file, "rb") as opened:
    length = int.from_bytes(opened.read(8), "little")
    if length > size - 8:  # no safetensors file, or cut short: loading it says so
      return files.content_hash(file)
    header = opened.read(length)
    samples = []
    for start, end in _offsets(header):
      opened.seek(8 + length + max(start, (start + end - SAMPLE) // 2))
      samples.append(opened.read(min(SAMPLE, end - start)))
  return files.digest(str(size).encode(), header, *samples)


def _offsets(header: bytes) -> list[tuple[int, int]]:
  """(first byte, end) of each tensor after the header, in the order of the file."""
  try:
    entries = json.loads(header)
    return sorted(tuple(e["data_offsets"]) for e in entries.values() if "data_offsets" in e)
  except (ValueError, AttributeError, TypeError):
    return []


def _json(file: epath.Path) -> dict[str, object]:
  try:
    values = json.loads(file.read_text())
  except ValueError:
    return {}
  return values if isinstance(values, dict) else {}
