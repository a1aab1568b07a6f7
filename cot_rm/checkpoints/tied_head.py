"""Whether the head of a checkpoint is its table of embeddings, by its files and its config."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from absl import logging
from etils import epath

from cot_rm import models
from cot_rm.checkpoints import lora, safetensors_io
from cot_rm.checkpoints.weights_files import Tensors
from cot_rm.models.checkpoint_keys import CheckpointKeys


def settle(
  folder: epath.Path,
  config: models.ModelConfig,
  tensors: Tensors,
  deltas: Mapping[str, lora.Delta],
  keys: CheckpointKeys,
) -> models.ModelConfig:
  """The config, untied where the files hold a head that is not the embeddings, as transformers 5.

  Raises ValueError for an untied config without a head.
  """
  head, table = tensors.get(keys.tied), tensors.get(keys.embeddings)
  if not config.tie_word_embeddings:
    if head is None:
      raise ValueError(
        f"{folder}: config.json says tie_word_embeddings false, and the files have no {keys.tied}. "
        "A model whose head is its embeddings has tie_word_embeddings true in config.json"
      )
    return config
  changed = deltas.keys() & {keys.tied, keys.embeddings}
  if head is None or table is None or not (changed or _differ(head, table)):
    return config
  logging.warning(
    "%s: config.json ties the head to the embeddings, but %s is another table: the model is opened "
    "untied, with this head",
    folder,
    keys.tied,
  )
  return dataclasses.replace(config, tie_word_embeddings=False)


def _differ(first: safetensors_io.Tensor, second: safetensors_io.Tensor) -> bool:
  """Whether two tensors in files differ; read a few rows at a time."""
  if first == second:
    return False
  if first.shape != second.shape:
    return True
  width = math.prod(first.shape[1:])
  rows = max(1, safetensors_io.MAX_READ_BYTES // (4 * max(width, 1)))
  for start in range(0, first.shape[0], rows):
    box = (slice(start, min(start + rows, first.shape[0])), slice(0, width))
    parts = []
    for tensor in (first, second):
      part = np.empty((box[0].stop - start, width), np.float32)
      for job in safetensors_io.read_jobs(part, tensor, (first.shape[0], width), box):
        safetensors_io.read(*job)
      parts.append(part)
    if not np.array_equal(*parts):
      return True
  return False
