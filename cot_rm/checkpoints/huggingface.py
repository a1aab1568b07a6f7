"""Hugging Face folders to parameters and back, tensor by tensor, by a family's key table.

A family's weights lie as a checkpoint has them, its layers stacked: loading is reading each tensor
into its place in one buffer per stack.
"""

import collections
import concurrent.futures
import itertools
import json
import math

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx
from jax.experimental import multihost_utils

from cot_rm import files, models, sharding
from cot_rm.checkpoints import safetensors_io

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# What is not weights and belongs to the tokenizer and the processor.
FILES = (
  "tokenizer*",
  "vocab*",
  "merges.txt",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template*",
  "*preprocessor_config.json",
  "processor_config.json",
  "generation_config.json",
)
READERS = 4  # threads that copy out of the files: some wait for the disk


def resolve(source):
  """The folder of `source`: an existing folder as it is, else a hub id, fetched by huggingface_hub.

  Raises FileNotFoundError for a path at which there is no folder.
  """
  folder = epath.Path(source).expanduser()
  if folder.is_dir():
    return folder
  text = str(source)
  if text.count("/") != 1 or text.startswith((".", "/", "~")):
    raise FileNotFoundError(f"no folder {folder}, and {text!r} is not a hub id (owner/name)")
  try:
    return epath.Path(
      huggingface_hub.snapshot_download(
        text, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
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


def read_config(folder):
  """(family's name, Config) of a folder's config.json."""
  file = epath.Path(folder) / "config.json"
  if not file.is_file():
    raise FileNotFoundError(f"{file}: missing")
  try:
    values = json.loads(file.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f"{file}: not JSON: {error}") from error
  family = values.get("model_type", "")
  return family, models.get(family).from_hf(values)


def abstract(family, config):
  """{path: nnx.Param without its array} of a model, and the tree that they make."""
  family = models.get(family)
  state = nnx.state(nnx.eval_shape(lambda: family.Model(config, rngs=nnx.Rngs(0))))
  return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}


def tree(variables):
  """The nnx.State of {path: variable}."""
  return nnx.from_flat_state([(tuple(path.split(".")), v) for path, v in variables.items()])


def layout(variable, mesh, rules):
  """Sharding of a parameter under a mesh and its rules; the first device when there is no mesh."""
  if mesh is None:
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.sharding.NamedSharding(mesh, sharding.spec(sharding.axes_of(variable), rules))


def load(folder, *, mesh=None, rules=None, dtype=None):
  """Parameters of a Hugging Face folder.

  Args:
    folder: holds config.json and model.safetensors, or shards and their index.
    mesh, rules: where arrays live; on the first device when None. A process reads what its devices
      need.
    dtype: of the parameters; None keeps the file's.

  Returns:
    (family's name, Config, nnx.State).

  Raises:
    FileNotFoundError: the folder, config.json or a weights file is missing.
    ValueError: a file is damaged, or tensors are missing, unexpected or misshapen; all are named.
  """
  folder = epath.Path(folder)
  family, config = read_config(folder)
  keys = models.get(family).HF_KEYS
  variables = abstract(family, config)
  sources = _match(folder, _scan(folder, keys), variables, keys, config)
  with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
    for path, variable in variables.items():
      wanted = jnp.result_type(*(t.dtype for t in sources[path])) if dtype is None else dtype
      variables[path] = variable.replace(
        _array(
          variable.shape,
          jnp.dtype(wanted),
          layout(variable, mesh, rules),
          sources[path],
          "{layer}" in keys.name(path),
          pool,
        )
      )
  return family, config, tree(variables)


def _scan(folder, keys):
  """{canonical name: Tensor} of all weights files of a folder."""
  if (index := folder / INDEX).is_file():
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
  elif (folder / SINGLE).is_file():
    names = [SINGLE]
  else:
    raise FileNotFoundError(f"{folder}: neither {SINGLE} nor {INDEX}")
  if missing := [name for name in names if not (folder / name).is_file()]:
    raise FileNotFoundError(f"{folder}: {INDEX} names files that are missing: {', '.join(missing)}")
  tensors = {}
  for name in names:
    for key, tensor in safetensors_io.header(folder / name).items():
      key = keys.canonical(key)
      if key in tensors:
        raise ValueError(f"{folder}: {key} is in {tensors[key].file.name} and again in {name}")
      tensors[key] = tensor
  return tensors


def names(path, variable, keys):
  """The checkpoint's names of one parameter: as many as it has layers, or one."""
  name = keys.name(path)
  if "{layer}" not in name:
    return [name]
  return [name.replace("{layer}", str(i)) for i in range(variable.shape[0])]


def _match(folder, tensors, variables, keys, config):
  """{path: its Tensors in order}. Raises ValueError naming every tensor that does not fit."""
  sources, missing, misshapen, expected = {}, [], [], {keys.tied}
  for path, variable in variables.items():
    part = shape(path, variable, keys, config)
    wanted = names(path, variable, keys)
    expected.update(wanted)
    missing += [name for name in wanted if name not in tensors]
    sources[path] = [tensors[name] for name in wanted if name in tensors]
    misshapen += [
      f"{name} {tensors[name].shape}, not {part}"
      for name in wanted
      if name in tensors and tensors[name].shape != part
    ]
  unexpected = sorted(tensors.keys() - expected)
  problems = [
    f"{title} ({len(some)}): {', '.join(some)}"
    for title, some in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    if some
  ]
  if problems:
    raise ValueError(f"{folder}: the tensors do not fit config.json. " + "; ".join(problems))
  return sources


def shape(path, variable, keys, config):
  """Shape of one tensor of a parameter in a checkpoint."""
  if path in keys.shapes:
    return keys.shapes[path](config)
  return tuple(variable.shape[1:] if "{layer}" in keys.name(path) else variable.shape)


def _array(shape, dtype, place, tensors, stacked, pool):
  """The array of a parameter: its one tensor, or its tensors stacked."""
  whole = tuple(slice(0, n) for n in shape)
  wanted = [
    tuple(slice(*s.indices(n)[:2]) for s, n in zip(index, shape, strict=True))
    for index in place.addressable_devices_indices_map(shape).values()
  ]
  # The smallest box that holds what this process's devices need.
  box = (
    tuple(
      slice(min(s.start for s in some), max(s.stop for s in some))
      for some in zip(*wanted, strict=True)
    )
    or whole
  )
  buffer = _empty([s.stop - s.start for s in box], dtype)
  if stacked:
    jobs = [
      job
      for out, tensor in zip(buffer, tensors[box[0]], strict=True)
      for job in safetensors_io.pieces(out, tensor, shape[1:], box[1:])
    ]
  else:
    jobs = safetensors_io.pieces(buffer, tensors[0], shape, box)
  list(pool.map(lambda job: safetensors_io.read(*job), jobs))
  return jax.make_array_from_callback(
    shape,
    place,
    lambda index: buffer[
      tuple(
        slice(s.indices(n)[0] - b.start, s.indices(n)[1] - b.start)
        for s, n, b in zip(index, shape, box, strict=True)
      )
    ],
  )


def _empty(shape, dtype):
  """An array that starts on a cache line: a CPU device then takes it over without a copy."""
  size = math.prod(shape) * dtype.itemsize
  raw = np.empty(size + 64, np.uint8)
  start = -raw.ctypes.data % 64
  return raw[start : start + size].view(dtype).reshape(shape)


def save(folder, params, *, family, config, max_shard_bytes=5 << 30, files_from=None):
  """Writes a folder that transformers' `from_pretrained` loads.

  Args:
    folder: made where it is missing; weights in it are replaced.
    params: nnx.State; each parameter keeps its dtype.
    family, config: of the model.
    max_shard_bytes: a weights file is at most this large, or one tensor.
    files_from: a folder whose tokenizer and processor files are copied; None copies none.
  """
  folder = epath.Path(folder)
  keys = models.get(family).HF_KEYS
  flat = {".".join(map(str, path)): v for path, v in nnx.to_flat_state(params)}
  shards, size = [{}], 0
  for path, variable in flat.items():
    part = shape(path, variable, keys, config)
    nbytes = math.prod(part) * variable.dtype.itemsize
    for name in names(path, variable, keys):
      if shards[-1] and size + nbytes > max_shard_bytes:
        shards.append({})
        size = 0
      shards[-1][name] = (np.dtype(variable.dtype), part)
      size += nbytes
  arrays = _arrays(flat, keys)
  if jax.process_index() != 0:
    collections.deque(arrays, maxlen=0)  # gives its part of each
    return
  folder.mkdir(parents=True, exist_ok=True)
  for old in [*folder.glob("model*.safetensors"), *folder.glob(INDEX)]:
    old.unlink()
  weight_map, total = {}, 0
  for i, entries in enumerate(shards, 1):
    file = SINGLE if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
    total += safetensors_io.write(folder / file, entries, itertools.islice(arrays, len(entries)))
    weight_map.update(dict.fromkeys(entries, file))
  if len(shards) > 1:
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    files.write_atomic(folder / INDEX, json.dumps(index, indent=1))
  dtype = str(next(iter(flat.values())).dtype)
  (folder / "config.json").write_text(
    json.dumps(models.get(family).to_hf(config, dtype=dtype), indent=2) + "\n"
  )
  if files_from is not None:
    copy_files(files_from, folder)


def _arrays(flat, keys):
  """Tensors of all parameters in order, one stack at a time on the host."""
  for path, variable in flat.items():
    x = variable.get_value()
    # Where other hosts own a part of it, all of them come together for it here.
    x = (
      np.asarray(x) if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True)
    )
    yield from x if "{layer}" in keys.name(path) else [x]


def copy_files(source, folder):
  """Copies the tokenizer's and the processor's files of one folder to another."""
  source, folder = epath.Path(source), epath.Path(folder)
  if not source.is_dir():
    raise FileNotFoundError(f"no folder {source} to copy tokenizer and processor files from")
  if source.resolve() == folder.resolve():
    return
  for pattern in FILES:
    for file in source.glob(pattern):
      file.copy(folder / file.name, overwrite=True)
