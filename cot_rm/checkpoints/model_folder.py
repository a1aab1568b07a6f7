"""Model folders, which every stage reads and writes.

model/config.json        sizes, as Hugging Face writes them
model/<tokenizer files>  and the processor's
model/params/            Orbax, {name: array}
model/cot_rm.json        family, dtype, step, source, fingerprint; written last: a folder without
                         it is incomplete
"""

import dataclasses
import json
import tempfile

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from flax import nnx

from cot_rm import files, models
from cot_rm.checkpoints import fingerprint, huggingface, lora, orbax_io
from cot_rm.sharding import Rules

INFO, PARAMS, CONFIG = "cot_rm.json", "params", "config.json"


@dataclasses.dataclass(frozen=True)
class OpenedModel:
  """Parameters of a model folder or a Hugging Face folder, and the folder they came from."""

  folder: epath.Path  # holds config.json, and the tokenizer and processor files
  family: str  # of models.MODELS
  config: models.ModelConfig  # the family's Config
  params: nnx.State
  info: dict[str, object]  # cot_rm.json; empty for a Hugging Face folder
  # Of an adapter: keeps `folder`, files of the base and the adapter, until nobody uses it.
  files: tempfile.TemporaryDirectory | None = None


def open_model(
  source: epath.PathLike,
  *,
  mesh: jax.sharding.Mesh | None = None,
  rules: Rules | None = None,
  dtype: str | None = None,
  base: epath.PathLike = "",
) -> OpenedModel:
  """Opens a model folder, a Hugging Face folder, a folder with a LoRA adapter, or a hub id.

  Args:
    source: the folder or hub id.
    mesh: devices of the parameters; None: the first device.
    rules: logical axes to mesh axes; needed with a mesh.
    dtype: of the parameters; None keeps the checkpoint's.
    base: the model that an adapter is merged into, a Hugging Face folder or a hub id; "": the one
      that its adapter_config.json names. Ignored for a whole model.

  Raises:
    FileNotFoundError: no such folder, or a file is missing in it.
    ValueError: the tensors do not fit config.json, the fingerprint does not fit the tensors, or
      numbers are not finite.
  """
  folder = huggingface.resolve(source)
  if (folder / INFO).is_file():
    return load_model(folder, mesh=mesh, rules=rules, dtype=dtype)
  if (folder / PARAMS).is_dir():
    raise FileNotFoundError(f"{folder / INFO}: missing: the model was not written completely")
  how = dict(mesh=mesh, rules=rules, dtype=dtype)
  if lora.is_adapter(folder):
    return _open_adapter(lora.open_adapter(folder), base, **how)
  family, config, params = huggingface.load(folder, **how)
  fingerprint.compute(family, config, params, source=str(folder))
  return OpenedModel(folder, family, config, params, {})


def _open_adapter(
  adapter: lora.Adapter,
  base: epath.PathLike,
  *,
  mesh: jax.sharding.Mesh | None,
  rules: Rules | None,
  dtype: str | None,
) -> OpenedModel:
  """`open_model` of an adapter: its base with the adapter merged."""
  name = base or adapter.base
  hint = f"{adapter.folder} is a LoRA adapter; its base is named by `base` (config.model.base)"
  if not name:
    raise ValueError(f"{hint}, as its {lora.CONFIG} names none")
  try:
    folder = huggingface.resolve(name)
  except FileNotFoundError as error:
    raise FileNotFoundError(f"{hint}: {error}") from error
  if (folder / INFO).is_file():
    raise ValueError(f"{hint}: {folder} is no Hugging Face folder; convert it (stage port, `hf`)")
  family, config, params = huggingface.load(
    folder, mesh=mesh, rules=rules, dtype=dtype, adapter=adapter
  )
  logging.info("%s: merged into its base %s", adapter.folder, folder)
  fingerprint.compute(family, config, params, source=f"{adapter.folder} in {folder}")
  held = tempfile.TemporaryDirectory(prefix="cot_rm_adapter_")
  joined = epath.Path(held.name)
  huggingface.copy_files(folder, joined)
  (folder / CONFIG).copy(joined / CONFIG)
  huggingface.replace_files(adapter.folder, joined)
  return OpenedModel(joined, family, config, params, {}, held)


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
  logps = fingerprint.compute(family, config, params, source=f"{folder} is not written")
  flat = orbax_io.by_name(params)
  if jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INFO).unlink(missing_ok=True)
    huggingface.copy_files(processor_files, folder)
  orbax_io.save(folder / PARAMS, flat)
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
  places = {name: huggingface.sharding_of(v, mesh, rules) for name, v in variables.items()}
  try:
    arrays = orbax_io.read(folder / PARAMS, expected, jnp.dtype(wanted_dtype), places)
  except ValueError as error:  # pages of its settings
    why = str(error)[:200]
    raise ValueError(f"{folder / PARAMS}: a file in it is damaged or missing: {why}") from error
  params = huggingface.to_state({name: v.replace(arrays[name]) for name, v in variables.items()})
  fingerprint.check(
    fingerprint.compute(family, config, params, source=str(folder)),
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
