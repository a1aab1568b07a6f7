"""Pytrees as Orbax stores them: flat dicts by parameter name, written and read in little memory."""

import concurrent.futures
import functools
import itertools
from collections.abc import Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath

from cot_rm.checkpoints import parameter_arrays

Shapes = Mapping[str, tuple[int, ...]]

CHUNK_BYTES = 1 << 26  # of an array in its file: the unit that is compressed and decompressed
FILE_BYTES = 1 << 28  # of a file: compressed chunks wait in memory until they fill one


def by_name(tree: object) -> dict[str, jax.Array | jax.ShapeDtypeStruct]:
  """{"params.layers.mlp.up_proj.weight": array} of any pytree."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)

  def name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")

  return {name(path): leaf for path, leaf in leaves}


def check_shapes(problem: str, stored: Shapes, expected: Shapes) -> None:
  """Raises ValueError naming every parameter whose stored shape is not the expected one.

  Args:
    problem: begins the message: the folder, and the thing that does not fit.
    stored: shapes in the checkpoint, by name.
    expected: shapes in the model or state, by name.
  """
  if stored == expected:
    return
  problems = {
    "missing": sorted(expected.keys() - stored.keys()),
    "unexpected": sorted(stored.keys() - expected.keys()),
    "misshapen": [
      f"{name} {stored[name]}, not {expected[name]}"
      for name in sorted(expected.keys() & stored.keys())
      if stored[name] != expected[name]
    ],
  }
  listed = [
    f"{title} ({len(names)}): {', '.join(names)}" for title, names in problems.items() if names
  ]
  raise ValueError(f"{problem}: {'; '.join(listed)}")


def absolute(folder: epath.PathLike) -> epath.Path:
  """The folder as an absolute path, which Orbax requires; a bucket's URL is one already."""
  folder = epath.Path(folder)
  return folder if "://" in str(folder) else folder.resolve()


def save(folder: epath.Path, arrays: Mapping[str, jax.Array]) -> None:
  """Writes arrays by name, one large array at a time: by default Orbax takes all of them at once.

  Args:
    folder: absolute; replaced.
    arrays: by name.
  """
  limit = 1 + max(x.nbytes for x in arrays.values())  # Orbax wants more than the largest needs
  handler = ocp.PyTreeCheckpointHandler(save_concurrent_gb=limit / 1e9)
  args = ocp.args.PyTreeSave(
    dict(arrays),
    save_args={name: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES) for name in arrays},
    ocdbt_target_data_file_size=FILE_BYTES,
  )
  with ocp.Checkpointer(handler) as checkpointer:
    checkpointer.save(folder, args=args, force=True)


def read(
  folder: epath.Path,
  shapes: Shapes,
  dtype: np.dtype,
  places: Mapping[str, jax.sharding.Sharding],
) -> dict[str, jax.Array]:
  """Arrays of a folder that Orbax wrote, chunk by chunk into the memory in which they stay.

  Orbax itself reads an array as a whole and copies it to its device; on a CPU both are in the same
  memory.

  Args:
    folder: absolute.
    shapes: of the arrays, by name.
    dtype: of the arrays, whatever the stored one.
    places: their shardings, by name. A process reads only the parts that its devices need.

  Raises:
    ValueError: a file is damaged or missing.
  """
  context = tensorstore.Context()
  url = str(folder) if "://" in str(folder) else f"file://{folder}"
  arrays = {}
  with concurrent.futures.ThreadPoolExecutor(parameter_arrays.READERS) as pool:
    for name, shape in shapes.items():
      stored = tensorstore.open(
        {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"{url}/", "path": f"{name}/"}},
        open=True,
        read=True,
        context=context,
      ).result()
      if stored.dtype.numpy_dtype != dtype:
        stored = tensorstore.cast(stored, dtype.name)
      fill = functools.partial(_fill, stored=stored, pool=pool)
      arrays[name] = parameter_arrays.assembled(shape, dtype, places[name], fill)
  return arrays


def _fill(
  out: np.ndarray,
  box: parameter_arrays.Box,
  *,
  stored: tensorstore.TensorStore,
  pool: concurrent.futures.Executor,
) -> None:
  """Reads a box of a stored array, a few of its chunks at a time."""
  starts = tuple(s.start for s in box)
  target = tensorstore.array(out)[tensorstore.d[:].translate_to[starts]]
  parts = itertools.product(
    *(
      [
        slice(max(at, s.start), min(at + size, s.stop))
        for at in range(s.start - s.start % size, s.stop, size)
      ]
      for s, size in zip(box, stored.chunk_layout.read_chunk.shape, strict=True)
    )
  )

  def copy(part: tuple[slice, ...]) -> None:
    target[part].write(stored[part]).result()

  list(pool.map(copy, parts))
