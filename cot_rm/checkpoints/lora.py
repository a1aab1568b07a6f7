"""LoRA adapters in PEFT's layout, merged into their base while it is read.

The layout: adapter_config.json, and adapter_model.safetensors with the factors of each adapted
module and whole tensors of those trained in full (https://huggingface.co/docs/peft).
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from cot_rm.checkpoints import safetensors_io
from cot_rm.checkpoints.weights_files import INDEX, SINGLE, Tensors
from cot_rm.models.checkpoint_keys import CheckpointKeys

_PEFT = "base_model.model."  # before the names of a model's modules
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Parts of an adapted module. Files that a trainer wrote itself have the adapter's name in them.
_FACTOR = re.compile(
  r"(?P<module>.+)\.(?P<part>lora_[AB]|lora_embedding_[AB])"
  r"(?:\.(?!weight$|bias$)\w+)?(?:\.weight)?"
)
_WHOLE = re.compile(r"\.(?:base_layer|modules_to_save(?:\.(?!weight$|bias$)\w+)?)(?=\.)")
# Initializations that change the base's weights: its files are not what was trained on.
_OTHER_BASE = ("pissa", "olora", "corda", "loftq")
# Settings with which a model computes something else than its base with products added.
_OTHER_MODELS = ("use_dora", "fan_in_fan_out", "lora_bias", "layer_replication")
_OTHER_MODELS += ("alora_invocation_tokens", "arrow_config", "use_qalora")


@dataclasses.dataclass(frozen=True)
class Delta:
  """What an adapter adds to a weight [out, in]: scale * up @ down, or its transpose."""

  down: safetensors_io.Tensor  # [r, in], or a convolution's [r, ...]
  up: safetensors_io.Tensor  # [out, r]
  scale: float
  transposed: bool = False  # of a table of embeddings

  def add(self, out: np.ndarray, box: Sequence[slice]) -> None:
    """Adds a box of the product to `out`, float32 of the box's shape."""
    r = self.down.shape[0]
    first, second = _array(self.up).reshape(-1, r), _array(self.down).reshape(r, -1)
    if self.transposed:
      first, second = second.T, first.T
    out += self.scale * (first[box[0]] @ second[:, box[1]])

  @property
  def shape(self) -> tuple[int, int]:
    """[out, in] of the weight."""
    r = self.down.shape[0]
    shape = math.prod(self.up.shape) // r, math.prod(self.down.shape) // r
    return shape[::-1] if self.transposed else shape


@dataclasses.dataclass(frozen=True)
class Adapter:
  """An opened adapter."""

  folder: epath.Path
  base: str  # the model that it was trained on: a folder or hub id
  values: Mapping[str, object]  # adapter_config.json


def is_adapter(folder: epath.Path) -> bool:
  """Whether a folder holds an adapter. Raises ValueError if it also holds a whole model."""
  if not (folder / CONFIG).is_file():
    return False
  if (folder / INDEX).is_file() or (folder / SINGLE).is_file():
    raise ValueError(
      f"{folder}: both a model and an adapter ({CONFIG}): which is meant? Move one of them away"
    )
  return True


def open_adapter(folder: epath.Path) -> Adapter:
  """Reads adapter_config.json; raises ValueError, by name, for a kind that cannot be merged."""
  file = folder / CONFIG
  try:
    values = json.loads(file.read_text())
  except json.JSONDecodeError as error:
    raise ValueError(f"{file}: not JSON: {error}") from error
  start = str(values.get("init_lora_weights", "")).lower()
  for name, found, right in (
    ("peft_type", str(values.get("peft_type", "LORA")).upper(), "LORA"),
    *((name, bool(values.get(name)), False) for name in _OTHER_MODELS),
    ("init_lora_weights", start if start.startswith(_OTHER_BASE) else "", ""),
  ):
    if found != right:
      raise ValueError(
        f"{file}: {name} is {values.get(name)!r}, which is not merged here; merge the adapter "
        "with PEFT (`merge_and_unload`, then `save_pretrained`) and open the result"
      )
  return Adapter(folder, str(values.get("base_model_name_or_path") or ""), values)


def merge(adapter: Adapter, tensors: Tensors, keys: CheckpointKeys) -> dict[str, Delta]:
  """Puts an adapter's whole tensors into those of its base; returns the Delta of each other weight.

  A head that is tied in the base and trained or adapted here, or whose embeddings are, becomes a
  head of its own: it computes what the adapted model computed in training.

  Args:
    adapter: see `open_adapter`.
    tensors: of the base by canonical name; changed.
    keys: of the family.

  Raises:
    FileNotFoundError: the adapter's weights are missing.
    ValueError: tensors of the adapter have no counterpart in the base, or do not fit it.
  """
  factors, whole = _read(adapter, keys)
  for module, (down, _), _ in factors.values():
    stated = _of_module(adapter.values, "rank_pattern", module, adapter.values.get("r"))
    if stated is not None and stated != (r := down.shape[0]):
      raise ValueError(
        f"{adapter.folder}: {module} has rank {r}, and {CONFIG} says {stated}: its weights and its "
        "config are of different adapters"
      )
  deltas = {
    name: Delta(*pair, _scale(adapter.values, module, pair[0].shape[0]), transposed)
    for name, (module, pair, transposed) in factors.items()
  }
  changed = {*deltas, *whole}
  if keys.tied not in tensors and changed & {keys.tied, keys.embeddings}:
    tensors[keys.tied] = tensors[keys.embeddings]
  if strange := sorted(changed - tensors.keys()):
    raise ValueError(
      f"{adapter.folder}: the base has no {', '.join(strange[:8])} ({len(strange)} of the "
      "adapter's tensors): the adapter is of another model"
    )
  tensors |= whole
  for name, delta in deltas.items():
    shape = tensors[name].shape
    if (shape[0], math.prod(shape[1:])) != delta.shape:
      raise ValueError(f"{adapter.folder}: {name} is {shape} in the base, {delta.shape} here")
  return deltas


def _read(
  adapter: Adapter, keys: CheckpointKeys
) -> tuple[
  dict[str, tuple[str, tuple[safetensors_io.Tensor, safetensors_io.Tensor], bool]], Tensors
]:
  """({weight: (module, (down, up), transposed)}, {name: whole tensor})."""
  file = adapter.folder / WEIGHTS
  if not file.is_file():
    other = ", but adapter_model.bin: save it as safetensors with PEFT"
    hint = other if (adapter.folder / "adapter_model.bin").is_file() else ""
    raise FileNotFoundError(f"{file}: missing{hint}")
  parts: dict[str, dict[str, safetensors_io.Tensor]] = {}
  whole: Tensors = {}
  for name, tensor in safetensors_io.header(file).items():
    if found := _FACTOR.fullmatch(name):
      if found["part"] in parts.get(found["module"], {}):
        raise ValueError(f"{file}: {name} is a second {found['part']}: of two adapters in one file")
      parts.setdefault(found["module"], {})[found["part"]] = tensor
    elif "lora_" in name or "token_adapter" in name or "trainable_tokens" in name:
      raise ValueError(f"{file}: {name} is of a kind that is not merged here; merge it with PEFT")
    else:
      whole[keys.canonical(_WHOLE.sub("", name))] = tensor
  factors = {}
  for module, pair in parts.items():
    prefix = "lora_embedding_" if "lora_embedding_A" in pair else "lora_"
    if sorted(pair) != [f"{prefix}A", f"{prefix}B"]:
      raise ValueError(f"{file}: {module} has {', '.join(sorted(pair))}; A and B are expected")
    name = keys.canonical(module.replace(".base_layer", "") + ".weight")
    factors[name] = module, (pair[f"{prefix}A"], pair[f"{prefix}B"]), prefix != "lora_"
  return factors, whole


def _scale(values: Mapping[str, object], module: str, r: int) -> float:
  """alpha / r of a module; alpha / sqrt(r) with rslora (arXiv:2312.03732)."""
  alpha = _of_module(values, "alpha_pattern", module, values.get("lora_alpha", 8))
  return alpha / (math.sqrt(r) if values.get("use_rslora") else r)


def _of_module(values: Mapping[str, object], name: str, module: str, default: object) -> object:
  """The value of the first pattern under `name` that a module has; without one the default."""
  for pattern, own in (values.get(name) or {}).items():
    if re.fullmatch(rf"(.*\.)?({pattern})", module.removeprefix(_PEFT)):
      return own
  return default


def _array(tensor: safetensors_io.Tensor) -> np.ndarray:
  """A whole tensor in float32."""
  out = np.empty(tensor.shape, np.float32)
  box = [slice(0, n) for n in tensor.shape]
  for job in safetensors_io.read_jobs(out, tensor, tensor.shape, box):
    safetensors_io.read(*job)
  return out
