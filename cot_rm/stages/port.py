"""Converts a Hugging Face checkpoint to a model folder of this package, or a model folder back."""

import math

import jax
from absl import logging
from etils import epath

from cot_rm import judge, registry, sharding, stages
from cot_rm.checkpoints import huggingface, model_folder
from cot_rm.stages import common
from cot_rm.stages import preflight as checking

TARGETS = ("orbax", "hf")  # a model folder of this package, a folder that transformers loads


def preflight(config: common.Section, workdir: epath.Path, name: str) -> checking.Checks:
  """Checks that there is a model to convert, the target, and the room on disk."""
  section, checks = common.section_name(config, name, "port"), checking.Checks(name)
  knobs = config[section]
  checking.check_choice(checks, f"config.{section}.target", knobs.target, TARGETS)
  checking.check_choice(checks, f"config.{section}.dtype", knobs.dtype, judge.DTYPES)
  checking.check_mesh(checks, config, rules="train_rules")
  with checks.catching():
    folder = checking.find_model(checks, config, workdir, f"config.{section}.source", knobs.source)
    if folder is not None:
      width = 4 if knobs.dtype == "float32" else 2
      count = checking.num_parameters(folder)
      checks.found["model"] = f"{count:,} parameters in {folder}"
      checking.check_disk(checks, workdir, count * width, "the model")
  return checks


def run(config: common.Section, workdir: epath.Path, name: str) -> stages.Figures:
  """Writes workdir/<name>/model; other stages start from it by the name of the folder.

  Returns the number of parameters.
  """
  section = common.section_name(config, name, "port")
  knobs, folder = config[section], workdir / name / "model"
  if knobs.target not in TARGETS:
    hint = registry.hint(knobs.target, TARGETS)
    raise ValueError(f"config.{section}.target is {knobs.target!r}; {hint}")
  if not knobs.source:
    raise ValueError(f"config.{section}.source is empty; set it to a folder or a hub id")
  opened = model_folder.open_model(
    common.resolve_path(workdir, knobs.source),
    base=config.model.base,
    mesh=sharding.make_mesh(config.mesh.shape.to_dict()),
    rules=config.mesh.train_rules.to_dict(),
    dtype=knobs.dtype,
  )
  model = dict(family=opened.family, config=opened.config)
  if knobs.target == "orbax":
    model_folder.save_model(
      folder, opened.params, **model, processor_files=opened.folder, source=knobs.source
    )
  else:
    huggingface.save(folder, opened.params, **model, files_from=opened.folder)
  count = sum(math.prod(x.shape) for x in jax.tree.leaves(opened.params))
  shown = f"{count:,} parameters of {knobs.source} in {knobs.dtype}"
  logging.info("%s: %s, now in %s", name, shown, folder)
  return {"parameters": count}
