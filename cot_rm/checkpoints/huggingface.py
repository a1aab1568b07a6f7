"""Hugging Face folders to parameters and back, tensor by tensor, by a family's key table.

A family keeps a checkpoint's weight layout, with layers stacked: loading reads each tensor into its
place in one buffer per stack.
"""

import collections
import concurrent.futures
import itertools
import json
import math
from collections.abc import Iterator, Mapping

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx
from jax.experimental import multihost_utils

from cot_rm import files, models, sharding
from cot_rm.checkpoints import (
  lora,
  parameter_arrays,
  safetensors_io,
  tied_head,
  weights_files,
)
from cot_rm.checkpoints.weights_files import INDEX, SINGLE, Tensors
from cot_rm.models.checkpoint_keys import CheckpointKeys
from cot_rm.sharding import Rules

Variables = dict[str, nnx.Variable]  # parameters by name, such as "layers.mlp.up_proj.weight"

# Files of the tokenizer and the processor, by what they say.
FILE_KINDS = (
  ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
  ("chat_template*",),
  ("*preprocessor_config.json", "processor_config.json"),
  ("generation_config.json",),
)
FILES = tuple(pattern for kind in FILE_KINDS for pattern in kind)


def resolve(source: epath.PathLike, *, weights: bool = True) -> epath.Path:
  """The folder of `source`: an existing folder, else the download of a hub id (owner/name).

  Args:
    source: the folder or hub id.
    weights: False: of a hub id only the small files are needed.

  Raises FileNotFoundError if there is no such folder and the hub has no such model.
  """
  folder = epath.Path(source).expanduser()
  if folder.is_dir():
    return folder
  text = str(source)
  if text.count("/") != 1 or text.startswith((".", "/", "~")):
    raise FileNotFoundError(f"no folder {folder}, and {text!r} is not a hub id (owner/name)")
  try:
    small = ["*.json", "*.txt", "*.model", "*.jinja"]
    return epath.Path(
      huggingface_hub.snapshot_download(
        text, allow_patterns=[*small, "*.safetensors"] if weights else small
      )
    )
  except (
    OSError,
    huggingface_hub.errors.HfHubHTTPError,
    huggingface_hub.errors.HFValidationError,
  ) as error:
    raise FileNotFoundError(
      f"no folder {folder}, and the hub did not give {text!r}: {error}"
    ) from error


def read_config(folder: epath.PathLike) -> tuple[str, models.ModelConfig]:
  """(family name, the family's Config) of a folder's config.json."""
  file = epath.Path(folder) / "config.json"
  if not file.is_file():
    inner = file.parent / "model"
    hint = f"; a stage's model is in {inner}" if (inner / "config.json").is_file() else ""
    raise FileNotFoundError(f"{file}: missing{hint}")
  try:
    values = json.loads(file.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f"{file}: not JSON: {error}") from error
  if "model_type" not in values:
    raise ValueError(
      f"{file}: not the config of a model: it has no model_type. In the workdir of a run models "
      "are in <stage>/model"
    )
  family = values["model_type"]
  return family, models.get(family).from_hf(values)


def abstract_params(family: str, config: models.ModelConfig) -> Variables:
  """Parameters of a model by name, with shapes instead of arrays."""
  make = models.get(family).Model
  state = nnx.state(nnx.eval_shape(lambda: make(config, rngs=nnx.Rngs(0))))
  return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}


def to_state(variables: Variables) -> nnx.State:
  """The nnx.State of parameters by name."""
  return nnx.from_flat_state([(tuple(path.split(".")), v) for path, v in variables.items()])


def sharding_of(
  variable: nnx.Variable, mesh: jax.sharding.Mesh | None, rules: Rules | None
) -> jax.sharding.Sharding:
  """Sharding of a parameter under a mesh and its rules; the first device without a mesh."""
  if mesh is None:
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return sharding.parameter_sharding(variable, mesh, rules)


def load(
  folder: epath.PathLike,
  *,
  mesh: jax.sharding.Mesh | None = None,
  rules: Rules | None = None,
  dtype: str | None = None,
  adapter: lora.Adapter | None = None,
) -> tuple[str, models.ModelConfig, nnx.State]:
  """Parameters of a Hugging Face folder.

  A head in the files of a tied config makes the model untied, unless it is equal to the embeddings.

  Args:
    folder: holds config.json and model.safetensors, or shards.
    mesh: devices of the parameters; None: the first device. A process reads only the parts that
      its devices need.
    rules: logical axes to mesh axes; needed with a mesh.
    dtype: of the parameters; None keeps the file's.
    adapter: is merged into the parameters.

  Returns:
    (family name, the family's Config, parameters).

  Raises:
    FileNotFoundError: the folder, config.json or a weights file is missing.
    ValueError: a file is damaged, its weights are quantized, numbers are not finite, or tensors are
      missing, unexpected or misshapen; all are named.
  """
  folder = epath.Path(folder)
  family, config = read_config(folder)
  keys = models.get(family).HF_KEYS
  tensors = weights_files.scan(folder, keys)
  deltas = {} if adapter is None else lora.merge(adapter, tensors, keys)
  config = tied_head.settle(folder, config, tensors, deltas, keys)
  variables = abstract_params(family, config)
  matched = _match(folder, tensors, variables, keys, config)
  with concurrent.futures.ThreadPoolExecutor(parameter_arrays.READERS) as pool:
    for path, variable in variables.items():
      wanted = jnp.result_type(*(t.dtype for t in matched[path])) if dtype is None else dtype
      names = tensor_names(path, variable, keys)
      variables[path] = variable.replace(
        parameter_arrays.read(
          variable.shape,
          jnp.dtype(wanted),
          sharding_of(variable, mesh, rules),
          [(tensors[name], deltas.get(name)) for name in names],
          stacked="{layer}" in keys.name(path),
          pool=pool,
        )
      )
  return family, config, to_state(variables)


def tensor_names(path: str, variable: nnx.Variable, keys: CheckpointKeys) -> list[str]:
  """The checkpoint's names of one parameter: one per layer of a stack, or a single one."""
  name = keys.name(path)
  if "{layer}" not in name:
    return [name]
  return [name.replace("{layer}", str(i)) for i in range(variable.shape[0])]


def _match(
  folder: epath.Path,
  tensors: Tensors,
  variables: Variables,
  keys: CheckpointKeys,
  config: models.ModelConfig,
) -> dict[str, list[safetensors_io.Tensor]]:
  """Tensors of each parameter, in order; raises ValueError naming all tensors that do not fit."""
  matched, missing, misshapen, expected = {}, [], [], {keys.tied}
  for path, variable in variables.items():
    shape = tensor_shape(path, variable, keys, config)
    wanted = tensor_names(path, variable, keys)
    expected.update(wanted)
    missing += [name for name in wanted if name not in tensors]
    matched[path] = [tensors[name] for name in wanted if name in tensors]
    misshapen += [
      f"{name} {tensors[name].shape}, not {shape}"
      for name in wanted
      if name in tensors and tensors[name].shape != shape
    ]
  unexpected = sorted(tensors.keys() - expected)
  problems = [
    f"{title} ({len(listed)}): {', '.join(listed)}"
    for title, listed in (
      ("missing", missing),
      ("unexpected", unexpected),
      ("misshapen", misshapen),
    )
    if listed
  ]
  if problems:
    raise ValueError(f"{folder}: the tensors do not fit config.json. " + "; ".join(problems))
  return matched


def tensor_shape(
  path: str, variable: nnx.Variable, keys: CheckpointKeys, config: models.ModelConfig
) -> tuple[int, ...]:
  """Shape in the checkpoint of one tensor of a parameter."""
  if path in keys.shapes:
    return keys.shapes[path](config)
  return tuple(variable.shape[1:] if "{layer}" in keys.name(path) else variable.shape)


def save(
  folder: epath.PathLike,
  params: nnx.State,
  *,
  family: str,
  config: models.ModelConfig,
  max_shard_bytes: int = 5 << 30,
  files_from: epath.PathLike | None = None,
) -> None:
  """Writes a folder that transformers' `from_pretrained` loads.

  Args:
    folder: created if missing; weights in it are replaced.
    params: each parameter keeps its dtype.
    family: of models.MODELS.
    config: the family's Config.
    max_shard_bytes: largest size of a weights file, unless a single tensor is larger.
    files_from: folder whose tokenizer and processor files are copied; None copies none.
  """
  folder = epath.Path(folder)
  keys = models.get(family).HF_KEYS
  flat = {".".join(map(str, path)): v for path, v in nnx.to_flat_state(params)}
  entries = {
    name: (np.dtype(variable.dtype), tensor_shape(path, variable, keys, config))
    for path, variable in flat.items()
    for name in tensor_names(path, variable, keys)
  }
  arrays = _arrays(flat, keys)
  if jax.process_index() != 0:
    collections.deque(arrays, maxlen=0)  # takes part in gathering each array
    return
  folder.mkdir(parents=True, exist_ok=True)
  for old in [*folder.glob("model*.safetensors"), *folder.glob(INDEX)]:
    old.unlink()
  write_shards(folder, entries, arrays, max_shard_bytes=max_shard_bytes)
  dtype = str(next(iter(flat.values())).dtype)
  values = models.get(family).to_hf(config, dtype=dtype)
  files.write_atomic(folder / "config.json", json.dumps(values, indent=2) + "\n")
  if files_from is not None:
    copy_files(files_from, folder)


def write_shards(
  folder: epath.Path,
  entries: safetensors_io.Entries,
  arrays: Iterator[np.ndarray],
  *,
  max_shard_bytes: int,
) -> None:
  """Writes tensors to one weights file, or to several with an index.

  Args:
    folder: exists.
    entries: {name: (dtype, shape)} of all tensors.
    arrays: the values in the same order; consumed one by one.
    max_shard_bytes: largest size of a file, unless a single tensor is larger.
  """
  shards: list[safetensors_io.Entries] = [{}]
  size = 0
  for name, (dtype, shape) in entries.items():
    nbytes = math.prod(shape) * dtype.itemsize
    if shards[-1] and size + nbytes > max_shard_bytes:
      shards.append({})
      size = 0
    shards[-1][name] = dtype, shape
    size += nbytes
  weight_map, total = {}, 0
  for i, shard in enumerate(shards, 1):
    file = SINGLE if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
    total += safetensors_io.write(folder / file, shard, itertools.islice(arrays, len(shard)))
    weight_map.update(dict.fromkeys(shard, file))
  if len(shards) > 1:
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    files.write_atomic(folder / INDEX, json.dumps(index, indent=1))


def _arrays(flat: Mapping[str, nnx.Variable], keys: CheckpointKeys) -> Iterator[np.ndarray]:
  """Tensors of all parameters in order, one stack at a time on the host."""
  for path, variable in flat.items():
    x = variable.get_value()
    # All processes gather an array that has shards on other hosts.
    x = (
      np.asarray(x) if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True)
    )
    yield from x if "{layer}" in keys.name(path) else [x]


def copy_files(source: epath.PathLike, folder: epath.PathLike) -> None:
  """Copies the tokenizer and processor files of one folder to another."""
  source, folder = epath.Path(source), epath.Path(folder)
  if not source.is_dir():
    raise FileNotFoundError(f"no folder {source} to copy tokenizer and processor files from")
  if source.resolve() == folder.resolve():
    return
  for pattern in FILES:
    for file in source.glob(pattern):
      file.copy(folder / file.name, overwrite=True)


def replace_files(source: epath.PathLike, folder: epath.PathLike) -> None:
  """`copy_files`, where the files of each kind that `source` has replace all of that kind.

  Two generations of transformers name the files of one thing differently: a folder must not have
  the old file of one model beside the new file of another.
  """
  source, folder = epath.Path(source), epath.Path(folder)
  for kind in FILE_KINDS:
    if any(file for pattern in kind for file in source.glob(pattern)):
      for pattern in kind:
        for old in folder.glob(pattern):
          old.unlink()
  copy_files(source, folder)
