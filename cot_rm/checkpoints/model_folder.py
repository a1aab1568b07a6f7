"""Checkpoints: model folders, which every stage reads and writes, and training state on its way.

model/config.json        sizes, as Hugging Face writes them
model/<tokenizer files>  and the processor's
model/params/            Orbax, {path: array}
model/cot_rm.json        family, dtype, step, source, fingerprint; written last: without it
                         the folder is not whole
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx

from cot_rm import files, models
from cot_rm.checkpoints import fingerprint, huggingface

INFO, PARAMS, CONFIG = "cot_rm.json", "params", "config.json"


@dataclasses.dataclass(frozen=True)
class Opened:
  """A model as it was found."""

  folder: epath.Path  # where its tokenizer and processor files are
  family: str  # of models.MODELS
  config: Any  # the family's Config
  params: nnx.State
  info: dict  # cot_rm.json; empty for a Hugging Face folder


def open_model(source, *, mesh=None, rules=None, dtype=None):
  """Opens a model folder, a Hugging Face folder or a hub id.

  Args:
    source: which.
    mesh, rules: where arrays live; on the first device when None.
    dtype: of the parameters; None keeps the checkpoint's.

  Returns:
    Opened.

  Raises:
    FileNotFoundError: no such folder, or a file of it is missing.
    ValueError: the tensors do not fit config.json, or the fingerprint does not fit the tensors.
  """
  folder = huggingface.resolve(source)
  if (folder / INFO).is_file():
    return load_model(folder, mesh=mesh, rules=rules, dtype=dtype)
  if (folder / PARAMS).is_dir():
    raise FileNotFoundError(f"{folder / INFO}: missing; the folder was not written to its end")
  family, config, params = huggingface.load(folder, mesh=mesh, rules=rules, dtype=dtype)
  return Opened(folder, family, config, params, {})


def save_model(folder, params, *, family, config, processor_files, step=None, source=None):
  """Writes a model folder.

  Args:
    folder: where; a model in it is replaced.
    params: nnx.State; it keeps its dtype.
    family, config: of the model.
    processor_files: a folder, whose tokenizer and processor files are copied.
    step, source: noted: updates done, and what the weights came from.
  """
  folder = _path(folder)
  mark = fingerprint.of(family, config, params)
  flat = _by_name(params)
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INFO).unlink(missing_ok=True)
    huggingface.copy_files(processor_files, folder)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder / PARAMS, flat, force=True)
  if jax.process_index() == 0:
    dtype = str(next(iter(flat.values())).dtype)
    (folder / CONFIG).write_text(
      json.dumps(models.get(family).to_hf(config, dtype=dtype), indent=2) + "\n"
    )
    files.write_atomic(
      folder / INFO,
      json.dumps(
        {
          "family": family,
          "dtype": dtype,
          "step": step,
          "source": None if source is None else str(source),
          "fingerprint": mark,
        },
        indent=1,
      )
      + "\n",
    )


def load_model(folder, *, mesh=None, rules=None, dtype=None):
  """`open_model` of a model folder; its fingerprint is checked."""
  folder = _path(folder)
  info = json.loads((folder / INFO).read_text())
  family, config = huggingface.read_config(folder)
  variables = huggingface.abstract(family, config)
  wanted = info["dtype"] if dtype is None else str(jnp.dtype(dtype))
  with ocp.StandardCheckpointer() as checkpointer:
    stored = _stored(checkpointer, folder / PARAMS)
    _fit(folder, stored, {path: tuple(v.shape) for path, v in variables.items()})
    like = {
      path: jax.ShapeDtypeStruct(
        v.shape, jnp.dtype(wanted), sharding=huggingface.layout(v, mesh, rules)
      )
      for path, v in variables.items()
    }
    try:
      arrays = checkpointer.restore(folder / PARAMS, like)
    except Exception as error:  # Orbax raises nothing narrower, and pages of its settings
      why = str(error.__cause__ or error)[:200]
      raise ValueError(f"{folder / PARAMS}: a file in it is damaged or missing: {why}") from error
  params = huggingface.tree({path: v.replace(arrays[path]) for path, v in variables.items()})
  fingerprint.check(
    fingerprint.of(family, config, params),
    info["fingerprint"],
    (info["dtype"], wanted),
    str(folder),
  )
  return Opened(folder, family, config, params, info)


def _stored(checkpointer, folder):
  """{path: shape} of what Orbax wrote. Raises FileNotFoundError where it is half written."""
  if not (folder / "_METADATA").is_file():
    raise FileNotFoundError(f"{folder}: missing, or half a checkpoint")
  tree = checkpointer.metadata(folder).item_metadata.tree
  return {path: tuple(leaf.shape) for path, leaf in tree.items()}


def _fit(folder, stored, wanted):
  """Raises ValueError that names every parameter whose stored shape is not the wanted one."""
  if stored == wanted:
    return
  problems = {
    "missing": sorted(wanted.keys() - stored.keys()),
    "unexpected": sorted(stored.keys() - wanted.keys()),
    "misshapen": [
      f"{path} {stored[path]}, not {wanted[path]}"
      for path in sorted(wanted.keys() & stored.keys())
      if stored[path] != wanted[path]
    ],
  }
  raise ValueError(
    f"{folder}: the parameters do not fit config.json. "
    + "; ".join(
      f"{title} ({len(some)}): {', '.join(some)}" for title, some in problems.items() if some
    )
  )


def _by_name(tree):
  """{"params.layers.mlp.up_proj.weight": array} of any pytree: what Orbax stores."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
  return {name(path): leaf for path, leaf in leaves}


def _path(folder):
  """Orbax wants whole paths; that of a bucket is whole."""
  folder = epath.Path(folder)
  return folder if "://" in str(folder) else folder.resolve()


class Checkpoints:
  """Training states in `folder`, one a step; the last `keep` stay.

  Saves run beside the training; one that is cut short leaves nothing that `restore_latest` sees.
  """

  def __init__(self, folder, *, keep):
    self._manager = ocp.CheckpointManager(
      _path(folder),
      # Named here, so that a save can be looked into before it is restored.
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "extra": ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=True
      ),
    )

  def save(self, step, state, extra):
    """Writes a state: a pytree of arrays, and what JSON holds (where the data stands, seconds)."""
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(_by_name(state)), extra=ocp.args.JsonSave(extra)
      ),
    )

  def restore_latest(self, like):
    """(step, state, extra) of the last whole save, or None.

    Args:
      like: a state of arrays or of jax.ShapeDtypeStructs with shardings; what is restored has its
        structure, dtypes and shardings, whichever mesh it was saved from.

    Raises ValueError where the saved state has other parts or shapes; they are named.
    """
    step = self._manager.latest_step()
    if step is None:
      return None
    abstract = {
      name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
      for name, x in _by_name(like).items()
    }
    tree = self._manager.item_metadata(step)["state"]
    found = {name: tuple(leaf.shape) for name, leaf in tree.items()}
    _fit(
      f"{self._manager.directory}, step {step}",
      found,
      {name: tuple(x.shape) for name, x in abstract.items()},
    )
    saved = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), extra=ocp.args.JsonRestore()
      ),
    )
    state = jax.tree.unflatten(jax.tree.structure(like), [saved["state"][n] for n in abstract])
    return step, state, saved["extra"]

  def wait(self):
    """Returns when all saves are on the disk."""
    self._manager.wait_until_finished()

  def close(self):
    self._manager.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()
