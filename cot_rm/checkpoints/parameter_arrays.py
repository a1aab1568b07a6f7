"""Arrays of parameters, read from their tensors in files into one buffer without a second copy."""

import concurrent.futures
import functools
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from cot_rm.checkpoints import lora, safetensors_io

Box = tuple[slice, ...]  # a slice with start and stop per dimension
# A tensor in its file, and what an adapter adds to it.
Source = tuple[safetensors_io.Tensor, lora.Delta | None]

READERS = 4  # threads that copy from the files: most wait for the disk


def read(
  shape: tuple[int, ...],
  dtype: np.dtype,
  place: jax.sharding.Sharding,
  sources: Sequence[Source],
  *,
  stacked: bool,
  pool: concurrent.futures.Executor,
) -> jax.Array:
  """The array of a parameter from its single tensor, or from its tensors stacked."""

  def fill(out: np.ndarray, box: Box) -> None:
    if stacked:
      jobs = [
        job
        for layer, source in zip(out, sources[box[0]], strict=True)
        for job in _jobs(layer, source, shape[1:], box[1:])
      ]
    else:
      jobs = _jobs(out, sources[0], shape, box)
    list(pool.map(lambda job: job(), jobs))

  return assembled(shape, dtype, place, fill)


def assembled(
  shape: tuple[int, ...],
  dtype: np.dtype,
  place: jax.sharding.Sharding,
  fill: Callable[[np.ndarray, Box], None],
) -> jax.Array:
  """The array whose values `fill(out, box)` writes: `out` is the box of it that is needed here."""
  box = _local_box(shape, place)
  buffer = empty([s.stop - s.start for s in box], dtype)
  fill(buffer, box)

  def shard(index: Box) -> np.ndarray:
    return buffer[
      tuple(
        slice(s.indices(n)[0] - b.start, s.indices(n)[1] - b.start)
        for s, n, b in zip(index, shape, box, strict=True)
      )
    ]

  return jax.make_array_from_callback(shape, place, shard)


def _jobs(
  out: np.ndarray, source: Source, shape: tuple[int, ...], box: Box
) -> list[Callable[[], None]]:
  """Calls that together fill `out` with a box of a tensor, see safetensors_io.read_jobs."""
  tensor, delta = source
  if delta is None:
    jobs = safetensors_io.read_jobs(out, tensor, shape, box)
    return [functools.partial(safetensors_io.read, *job) for job in jobs]

  def adapted() -> None:
    exact = np.empty(out.shape, np.float32)
    for job in safetensors_io.read_jobs(exact, tensor, shape, box):
      safetensors_io.read(*job)
    delta.add(exact, box)
    with np.errstate(over="ignore"):
      out[...] = exact
    safetensors_io.check_finite(out, tensor)

  return [adapted]


def _local_box(shape: tuple[int, ...], place: jax.sharding.Sharding) -> Box:
  """The smallest box of an array that covers the shards of this process's devices."""
  shards = [
    tuple(slice(*s.indices(n)[:2]) for s, n in zip(index, shape, strict=True))
    for index in place.addressable_devices_indices_map(shape).values()
  ]
  covering = tuple(
    slice(min(s.start for s in slices), max(s.stop for s in slices))
    for slices in zip(*shards, strict=True)
  )
  return covering or tuple(slice(0, n) for n in shape)


def empty(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
  """An array that starts on a cache line: a CPU device then takes it over without a copy."""
  size = math.prod(shape) * dtype.itemsize
  raw = np.empty(size + 64, np.uint8)
  start = -raw.ctypes.data % 64
  return raw[start : start + size].view(dtype).reshape(shape)
