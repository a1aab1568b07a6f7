"""Bytes of safetensors files: where a tensor lies, its rows into an array, arrays into a file.

The package of that name reads whole tensors into arrays of their own; here they go straight to
their place in a stack. The format: https://github.com/huggingface/safetensors
"""

import dataclasses
import json
import math
import mmap
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from cot_rm import files

# safetensors' names of the types that a checkpoint of ours can have.
DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}
# Bytes mapped at once: enough to keep a thread busy, and few beside what is loaded.
PIECE = 1 << 24


@dataclasses.dataclass(frozen=True)
class Tensor:
  """Where one tensor lies."""

  file: Path
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int  # of its first byte in the file


def header(file):
  """{name: Tensor} of a file. Raises ValueError where it is cut short or of other types."""
  try:
    with safetensors.safe_open(file, "np"):  # checks that header and size agree
      pass
  except safetensors.SafetensorError as error:
    raise ValueError(f"{file}: half a file, or not safetensors: {error}") from error
  with file.open("rb") as opened:
    size = int.from_bytes(opened.read(8), "little")
    entries = json.loads(opened.read(size))
  entries.pop("__metadata__", None)
  if odd := [f"{k} ({v['dtype']})" for k, v in entries.items() if v["dtype"] not in DTYPES]:
    raise ValueError(f"{file}: only {', '.join(DTYPES)} are read; not so: {', '.join(odd)}")
  return {
    k: Tensor(file, DTYPES[v["dtype"]], tuple(v["shape"]), 8 + size + v["data_offsets"][0])
    for k, v in entries.items()
  }


def pieces(out, tensor, shape, box):
  """Calls that together fill `out` with a box of a tensor: a list of arguments of `read`.

  Args:
    out: array of the box's shape, of any dtype.
    tensor: where to read.
    shape: to see the tensor in; its first dimension is the tensor's.
    box: a slice for each dimension.
  """
  width = math.prod(shape[1:])  # numbers in a row
  rows = max(1, PIECE // max(1, width * tensor.dtype.itemsize))
  return [
    (out[at : at + rows], tensor, (box[0].start + at) * width, (-1, *shape[1:]), box[1:])
    for at in range(0, len(out), rows)
  ]


def read(out, tensor, first, shape, box):
  """Reads len(out) rows from number `first` on, keeps the box's columns, and casts.

  Out of a mapping: a copy in this process is faster than the system's into fresh memory.
  """
  count = len(out) * math.prod(shape[1:])
  start = tensor.offset + first * tensor.dtype.itemsize
  skipped = start % mmap.ALLOCATIONGRANULARITY  # a mapping begins on a page
  size = skipped + count * tensor.dtype.itemsize
  if not count:
    return
  with open(tensor.file, "rb") as opened:
    if os.fstat(opened.fileno()).st_size < start - skipped + size:
      raise ValueError(f"{tensor.file}: ends in the middle of a tensor")
    with mmap.mmap(
      opened.fileno(), size, access=mmap.ACCESS_READ, offset=start - skipped
    ) as mapped:
      rows = np.frombuffer(mapped, np.uint8, offset=skipped).view(tensor.dtype).reshape(shape)
      part = rows[(slice(None), *box)]
      if out.dtype == tensor.dtype:  # numpy copies its own types faster than bfloat16
        out, part = out.view(f"u{out.itemsize}"), part.view(f"u{out.itemsize}")
      np.copyto(out, part, casting="unsafe")
      del rows, part  # what points into a mapping keeps it open


def write(file, entries, arrays):
  """Writes a file, one array at a time; it gets its name once it is whole.

  Args:
    entries: {name: (dtype, shape)}.
    arrays: their values, in the same order; read one by one.

  Returns:
    bytes of the arrays.
  """
  told, at = {"__metadata__": {"format": "pt"}}, 0
  words = {dtype: name for name, dtype in DTYPES.items()}
  for name, (dtype, shape) in entries.items():
    end = at + math.prod(shape) * dtype.itemsize
    told[name] = {"dtype": words[np.dtype(dtype)], "shape": shape, "data_offsets": [at, end]}
    at = end
  text = json.dumps(told).encode()
  text += b" " * (-len(text) % 8)
  with files.replacing(file) as part, part.open("wb") as out:
    out.write(len(text).to_bytes(8, "little") + text)
    for array in arrays:
      out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return at
