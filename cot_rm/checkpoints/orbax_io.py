"""Pytrees as Orbax stores them: flat dicts by parameter name, and a check of their shapes."""

from collections.abc import Mapping

import jax
from etils import epath

Shapes = Mapping[str, tuple[int, ...]]


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
