"""The tensors of a Hugging Face folder by canonical name, whatever its files; others are named."""

import json
import re
from collections.abc import Mapping

from etils import epath

from cot_rm.checkpoints import safetensors_io
from cot_rm.models.checkpoint_keys import CheckpointKeys

Tensors = dict[str, safetensors_io.Tensor]  # tensors by the name that `huggingface.save` gives them

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")
# Weights in other forms: pattern of the files, and what to do.
_OTHER_FORMS = (
  (
    "pytorch_model*.bin",
    "pickled torch tensors, which are programs and are not read: write safetensors with "
    "transformers (`from_pretrained(folder).save_pretrained(other, safe_serialization=True)`)",
  ),
  ("*.gguf", "weights of llama.cpp: take the checkpoint that they were made from"),
  ("consolidated*.pth", "pickled torch tensors: convert them to safetensors with transformers"),
  ("*.distcp", "a distributed checkpoint of torch: merge it to safetensors with its trainer"),
  ("global_step*", "states of DeepSpeed: merge them with its script zero_to_fp32.py"),
  ("model_world_size_*", "shards of FSDP: merge them to a Hugging Face folder with its trainer"),
)


def scan(folder: epath.Path, keys: CheckpointKeys) -> Tensors:
  """The tensors of all weights files of a folder, by canonical name.

  Raises:
    FileNotFoundError: weights files are missing, or the weights have a form that is not read.
    ValueError: a file is damaged, its weights are quantized, or a tensor has two places.
  """
  refuse_quantized(folder)
  tensors: Tensors = {}
  for name in _file_names(folder):
    for key, tensor in safetensors_io.header(folder / name).items():
      key = keys.canonical(key)
      if keys.is_buffer(key):
        continue
      if key in tensors:
        raise ValueError(f"{folder}: {key} is in {tensors[key].file.name} and again in {name}")
      tensors[key] = tensor
  return tensors


def refuse_quantized(folder: epath.Path) -> None:
  """Raises ValueError for a folder whose config.json says that its weights are quantized."""
  file = folder / "config.json"
  values = json.loads(file.read_text()) if file.is_file() else {}
  text = values.get("text_config") or {}
  found = values.get("quantization_config") or text.get("quantization_config")
  if not isinstance(found, Mapping):
    return
  method = found.get("quant_method") or "bitsandbytes"
  bits = found.get("bits") or (4 if found.get("load_in_4bit") else None)
  shown = f"{method}, {bits} bits" if bits else method
  raise ValueError(
    f"{file}: the weights are quantized ({shown}), which is not read. Take the checkpoint in "
    "bfloat16 that it was made from; the sampler makes 8-bit weights itself (sampler.weights)"
  )


def _file_names(folder: epath.Path) -> list[str]:
  """Names of the safetensors files of a folder, all of which exist."""
  if (index := folder / INDEX).is_file():
    names = sorted(set(_weight_map(index).values()))
    source = f"{INDEX} names"
  elif (folder / SINGLE).is_file():
    return [SINGLE]
  else:
    names, source = _shards_without_index(folder)
  if missing := [name for name in names if not (folder / name).is_file()]:
    raise FileNotFoundError(
      f"{folder}: {source} {len(names)} files; missing are {len(missing)}: {', '.join(missing)}"
    )
  return names


def _weight_map(index: epath.Path) -> dict[str, str]:
  """{tensor: file} of an index."""
  try:
    return json.loads(index.read_text())["weight_map"]
  except (json.JSONDecodeError, KeyError, TypeError) as error:
    raise ValueError(f"{index}: not the index of a checkpoint: {error!r}") from error


def _shards_without_index(folder: epath.Path) -> tuple[list[str], str]:
  """(names of all shards, where they are from) of a folder without an index."""
  found = [
    file.name
    for file in sorted(folder.glob("*.safetensors"))
    if not file.name.startswith("adapter_")
  ]
  shards = [match for name in found if (match := _SHARD.fullmatch(name))]
  if shards:
    stems = sorted({(match[1], match[3]) for match in shards})
    if len(stems) > 1:
      raise ValueError(
        f"{folder}: shards of different checkpoints, and no {INDEX}: {', '.join(found)}"
      )
    stem, total = stems[0]
    width = len(total)
    names = [f"{stem}-{i:0{width}d}-of-{total}.safetensors" for i in range(1, int(total) + 1)]
    return names, "the names of its shards mean"
  if len(found) == 1:
    return found, "it has"
  for pattern, advice in _OTHER_FORMS:
    if others := sorted(file.name for file in folder.glob(pattern)):
      raise FileNotFoundError(f"{folder}: neither {SINGLE} nor {INDEX}, but {others[0]}: {advice}")
  listed = f"; several other files: {', '.join(found)}" if found else ""
  raise FileNotFoundError(f"{folder}: neither {SINGLE} nor {INDEX}{listed}")
