"""Brings a Hugging Face checkpoint into a model folder of ours, or a model folder back.

The model folder is port/model; other stages start from it by the name "port".
"""

import math

import jax
from absl import logging

from cot_rm import sharding
from cot_rm.checkpoints import huggingface, model_folder
from cot_rm.stages import common

TARGETS = ("orbax", "hf")


def run(config, workdir, name):
  knobs = config.port
  if knobs.target not in TARGETS:
    raise ValueError(f"config.port.target is {knobs.target!r}; it is one of {', '.join(TARGETS)}")
  if not knobs.source:
    raise ValueError("config.port.source is empty; give it a folder or a hub id")
  mesh = sharding.make_mesh(config.mesh.shape.to_dict())
  opened = model_folder.open_model(
    common.resolve_path(workdir, knobs.source),
    mesh=mesh,
    rules=config.mesh.train_rules.to_dict(),
    dtype=knobs.dtype,
  )
  folder = workdir / name / "model"
  if knobs.target == "orbax":
    model_folder.save_model(
      folder,
      opened.params,
      family=opened.family,
      config=opened.config,
      processor_files=opened.folder,
      source=knobs.source,
    )
  else:
    huggingface.save(
      folder, opened.params, family=opened.family, config=opened.config, files_from=opened.folder
    )
  count = sum(math.prod(x.shape) for x in jax.tree.leaves(opened.params))
  logging.info(
    "%s: %s parameters of %s in %s, now in %s",
    name,
    f"{count:,}",
    knobs.source,
    knobs.dtype,
    folder,
  )
  return {"parameters": count}
