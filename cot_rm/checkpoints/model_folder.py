"""Model folders, which every stage reads and writes.

model/config.json        sizes, as Hugging Face writes them
model/<tokenizer files>  and the processor's
model/params/            Orbax, {name: array}
model/cot_rm.json        family, dtype, step, source, fingerprint; written last: a folder without
                         it is incomplete
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx

from cot_rm import files, models
from cot_rm.checkpoints import fingerprint, huggingface, orbax_io
from cot_rm.sharding import Rules

INFO, PARAMS, CONFIG = "cot_rm.json", "params", "config.json"


@dataclasses.dataclass(frozen=True)
class OpenedModel:
  """Parameters of a model folder or a Hugging Face folder, and the folder they came from."""

  folder: epath.Path  # holds the tokenizer and processor files, too
  family: str  # of models.MODELS
  config: models.ModelConfig  # the family's Config
  params: nnx.State
  info: dict[str, object]  # cot_rm.json; empty for a Hugging Face folder


def open_model(
  source: epath.PathLike,
  *,
  mesh: jax.sharding.Mesh | None = None,
  rules: Rules | None = None,
  dtype: str | None = None,
) -> OpenedModel:
  """Opens a model folder, a Hugging Face folder or a hub id.

  Args:
    source: the folder or hub id.
    mesh: devices of the parameters; None: the first device.
    rules: logical axes to mesh axes; needed with a mesh.
    dtype: of the parameters; None keeps the checkpoint's.

  Raises:
    FileNotFoundError: no such folder, or a file is missing in it.
    ValueError: the tensors do not fit config.json, or the fingerprint does not fit the tensors.
  """
  folder = huggingface.resolve(source)
  if (folder / INFO).is_file():
    return load_model(folder, mesh=mesh, rules=rules, dtype=dtype)
  if (folder / PARAMS).is_dir():
    raise FileNotFoundError(f"{folder / INFO}: missing: the model was not written completely")
  family, config, params = huggingface.load(folder, mesh=mesh, rules=rules, dtype=dtype)
  return OpenedModel(folder, family, config, params, {})


def save_model(
  folder: epath.PathLike,
  params: nnx.State,
  *,
  family: str,
  config: models.ModelConfig,
  processor_files: epath.PathLike,
  step: int | None = None,
  source: epath.PathLike | None = None,
) -> None:
  """Writes a model folder; a model already in it is replaced.

  Args:
    folder: the folder.
    params: keep their dtype.
    family: of models.MODELS.
    config: the family's Config.
    processor_files: folder whose tokenizer and processor files are copied.
    step: number of updates done, for cot_rm.json.
    source: origin of the weights, for cot_rm.json.
  """
  folder = orbax_io.absolute(folder)
  logps = fingerprint.compute(family, config, params)
  flat = orbax_io.by_name(params)
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INFO).unlink(missing_ok=True)
    huggingface.copy_files(processor_files, folder)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder / PARAMS, flat, force=True)
  if jax.process_index() == 0:
    dtype = str(next(iter(flat.values())).dtype)
    values = models.get(family).to_hf(config, dtype=dtype)
    files.write_atomic(folder / CONFIG, json.dumps(values, indent=2) + "\n")
    info = {
      "family": family,
      "dtype": dtype,
      "step": step,
      "source": None if source is None else str(source),
      "fingerprint": logps,
    }
    files.write_atomic(folder / INFO, json.dumps(info, indent=1) + "\n")


def load_model(
  folder: epath.PathLike,
  *,
  mesh: jax.sharding.Mesh | None = None,
  rules: Rules | None = None,
  dtype: str | None = None,
) -> OpenedModel:
  """`open_model` of a model folder; checks its fingerprint."""
  folder = orbax_io.absolute(folder)
  info = json.loads((folder / INFO).read_text())
  family, config = huggingface.read_config(folder)
  variables = huggingface.abstract_params(family, config)
  wanted_dtype = info["dtype"] if dtype is None else str(jnp.dtype(dtype))
  with ocp.StandardCheckpointer() as checkpointer:
    stored = _stored_shapes(checkpointer, folder / PARAMS)
    expected = {name: tuple(v.shape) for name, v in variables.items()}
    orbax_io.check_shapes(f"{folder}: params does not fit config.json", stored, expected)
    abstract = {
      name: jax.ShapeDtypeStruct(
        v.shape, jnp.dtype(wanted_dtype), sharding=huggingface.sharding_of(v, mesh, rules)
      )
      for name, v in variables.items()
    }
    try:
      arrays = checkpointer.restore(folder / PARAMS, abstract)
    except Exception as error:  # Orbax raises nothing narrower, and pages of its settings
      why = str(error.__cause__ or error)[:200]
      raise ValueError(f"{folder / PARAMS}: a file in it is damaged or missing: {why}") from error
  params = huggingface.to_state({name: v.replace(arrays[name]) for name, v in variables.items()})
  fingerprint.check(
    fingerprint.compute(family, config, params),
    info["fingerprint"],
    (info["dtype"], wanted_dtype),
    str(folder),
  )
  return OpenedModel(folder, family, config, params, info)


def _stored_shapes(
  checkpointer: ocp.StandardCheckpointer, folder: epath.Path
) -> dict[str, tuple[int, ...]]:
  """Shapes in an Orbax folder; raises FileNotFoundError if it is incomplete."""
  if not (folder / "_METADATA").is_file():
    raise FileNotFoundError(f"{folder}: missing, or an incomplete checkpoint")
  stored = checkpointer.metadata(folder).item_metadata.tree
  return {name: tuple(leaf.shape) for name, leaf in stored.items()}
