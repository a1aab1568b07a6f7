"""Bytes of safetensors files: positions of tensors, rows into an array, arrays into a file.

The package of that name reads each tensor into a new array; here a tensor is read directly into its
place in a stack. The format: https://github.com/huggingface/safetensors
"""

import dataclasses
import json
import math
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from cot_rm import file_kinds, files

# Supported dtypes, by safetensors' names.
DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}
# Bytes mapped at once: enough to keep a thread busy, and few compared with a checkpoint.
MAX_READ_BYTES = 1 << 24

Entries = dict[str, tuple[np.dtype, tuple[int, ...]]]  # {name: (dtype, shape)} of tensors
# Arguments of one call of `read`.
ReadJob = tuple[np.ndarray, "Tensor", int, tuple[int, ...], tuple[slice, ...]]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """Position of one tensor in a file."""

  name: str  # in the file
  file: Path
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int  # of its first byte in the file


def header(file: Path) -> dict[str, Tensor]:
  """The tensors of a file by name; raises ValueError if it is cut short or has other dtypes."""
  try:
    with safetensors.safe_open(file, "np"):  # checks that header and size agree
      pass
  except safetensors.SafetensorError as error:
    with file.open("rb") as opened:
      found = file_kinds.mistaken(opened.read(file_kinds.LOOKED_AT))
    if found:
      raise ValueError(f"{file}: no safetensors file: it is {found}") from error
    raise ValueError(
      f"{file}: cut short, or not a safetensors file: {error}; download or copy it again"
    ) from error
  with file.open("rb") as opened:
    size = int.from_bytes(opened.read(8), "little")
    entries = json.loads(opened.read(size))
  entries.pop("__metadata__", None)
  if other := [f"{k} ({v['dtype']})" for k, v in entries.items() if v["dtype"] not in DTYPES]:
    raise ValueError(f"{file}: only {', '.join(DTYPES)} can be read, not {', '.join(other)}")
  return {
    k: Tensor(k, file, DTYPES[v["dtype"]], tuple(v["shape"]), 8 + size + v["data_offsets"][0])
    for k, v in entries.items()
  }


def read_jobs(
  out: np.ndarray, tensor: Tensor, shape: Sequence[int], box: Sequence[slice]
) -> list[ReadJob]:
  """Arguments for the calls of `read` that together fill `out` with a box of a tensor.

  Args:
    out: array of the box's shape, of any dtype.
    tensor: position and dtype of the tensor in its file.
    shape: shape in which the tensor is viewed; the first dimension must be the tensor's own.
    box: the part to read: a slice per dimension.
  """
  width = math.prod(shape[1:])  # elements of a row
  rows = max(1, MAX_READ_BYTES // max(1, width * tensor.dtype.itemsize))
  return [
    (out[at : at + rows], tensor, (box[0].start + at) * width, (-1, *shape[1:]), box[1:])
    for at in range(0, len(out), rows)
  ]


def read(
  out: np.ndarray, tensor: Tensor, first: int, shape: Sequence[int], box: Sequence[slice]
) -> None:
  """Reads len(out) rows of a tensor, and casts those columns that are in the box into `out`.

  Raises ValueError for a file that is cut short, and for numbers that are not finite.

  The file is memory-mapped: copying from a mapping is faster than a read() into new memory.

  Args:
    out: array to fill.
    tensor: position and dtype of the tensor in its file.
    first: index of the first element to read, in the flattened tensor.
    shape: shape in which the elements are viewed: (-1, dimensions after the first).
    box: a slice per dimension after the first.
  """
  count = len(out) * math.prod(shape[1:])
  start = tensor.offset + first * tensor.dtype.itemsize
  skipped = start % mmap.ALLOCATIONGRANULARITY  # a mapping begins on a page
  size = skipped + count * tensor.dtype.itemsize
  if not count:
    return
  with open(tensor.file, "rb") as opened:
    if os.fstat(opened.fileno()).st_size < start - skipped + size:
      raise ValueError(f"{tensor.file}: ends in the middle of a tensor; download or copy it again")
    with mmap.mmap(
      opened.fileno(), size, access=mmap.ACCESS_READ, offset=start - skipped
    ) as mapped:
      rows = np.frombuffer(mapped, np.uint8, offset=skipped).view(tensor.dtype).reshape(shape)
      columns = rows[(slice(None), *box)]
      if out.dtype == tensor.dtype:  # numpy copies its own types faster than bfloat16
        np.copyto(out.view(f"u{out.itemsize}"), columns.view(f"u{out.itemsize}"))
      else:
        with np.errstate(over="ignore"):  # said by check_finite
          np.copyto(out, columns, casting="unsafe")
      finite = is_finite(out)
      in_file = finite or is_finite(columns)
      del rows, columns  # arrays over a mapping keep it open
  if not finite:
    check_finite(out, tensor, in_file=in_file)


def is_finite(x: np.ndarray) -> bool:
  """Whether all numbers of an array of one of DTYPES are finite; by their bits, which is fast."""
  exponent = {np.dtype(np.float32): 0x7F800000, np.dtype(np.float16): 0x7C00}.get(x.dtype, 0x7F80)
  bits = x.view(f"u{x.itemsize}") & np.array(exponent, f"u{x.itemsize}")
  return not bits.size or int(bits.max()) != exponent


def check_finite(x: np.ndarray, tensor: Tensor, *, in_file: bool = True) -> None:
  """Raises ValueError, naming the tensor, unless all numbers read from it are finite.

  Args:
    x: the numbers as they are used.
    tensor: where they are from.
    in_file: whether they are finite in the file.
  """
  if not in_file:
    raise ValueError(
      f"{tensor.file}: {tensor.name} holds NaN or infinite numbers: the checkpoint is damaged, or "
      "its training diverged; take an earlier one"
    )
  if not is_finite(x):
    raise ValueError(
      f"{tensor.file}: {tensor.name} holds numbers too large for {x.dtype}; take bfloat16 or "
      "float32 (dtype)"
    )


def write(
  file: Path,
  entries: Entries,
  arrays: Iterable[np.ndarray],
) -> int:
  """Writes a safetensors file, one array at a time; it appears when it is complete.

  Args:
    file: its path.
    entries: {name: (dtype, shape)}.
    arrays: the values in the same order; consumed one by one.

  Returns:
    Number of bytes of all arrays.
  """
  header_entries, at = {"__metadata__": {"format": "pt"}}, 0
  names = {dtype: name for name, dtype in DTYPES.items()}
  for name, (dtype, shape) in entries.items():
    end = at + math.prod(shape) * dtype.itemsize
    header_entries[name] = {
      "dtype": names[np.dtype(dtype)],
      "shape": shape,
      "data_offsets": [at, end],
    }
    at = end
  text = json.dumps(header_entries).encode()
  text += b" " * (-len(text) % 8)
  with files.replacing(file) as part, part.open("wb") as out:
    out.write(len(text).to_bytes(8, "little") + text)
    for array in arrays:
      out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return at
