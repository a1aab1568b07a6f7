"""The models that eval scores, and how their verdicts are read."""

import functools
import pathlib

from absl import logging
from etils import epath

import cot_rm.judge  # by its full name: a stage of this package is called judge too
from cot_rm import prompts, registry, schema
from cot_rm import workdir as run_folder  # `workdir` is an argument here
from cot_rm.stages import common, preflight_data
from cot_rm.stages import preflight as checking


def reads(knobs: common.Section, section: str) -> tuple[cot_rm.judge.Read, ...]:
  """The values of the knob `read`. Raises ValueError for an unknown one."""
  known = {read: read for read in cot_rm.judge.READS}
  names = dict.fromkeys(map(str.strip, knobs.read.split(",")))
  return tuple(registry.lookup(known, name, f"config.{section}.read") for name in names)


def openings(config: common.Section, folder: str) -> dict[str, int]:
  """{task: tokens that a direct read adds to a prompt}, by the processor in a model's folder."""
  knobs, options = common.processor_knobs(config), common.media_options(config)
  processor = preflight_data.open_processor(folder, knobs, options)
  opened = functools.partial(cot_rm.judge.opening_tokens, processor, prompts.get(config.grammar))
  return {task: len(opened(task)) for task in schema.TASKS}


def folders(
  checks: checking.Checks, config: common.Section, workdir: epath.Path, section: str
) -> list[str]:
  """The folders with the processors of the models to score, as far as they are there."""
  found, planned = [], checking.planned(config, checks.name)
  named = _named_models(config, workdir, section)
  checks.require(
    any(named.values()) or not planned.keys().isdisjoint(named), _none(config, section)
  )
  for model, there in named.items():
    if there or model in planned:
      with checks.catching():
        folder = checking.find_model(checks, config, workdir, f"config.{section}.models", model)
        found += [folder] if folder is not None else []
  return found


def there(config: common.Section, workdir: epath.Path, section: str) -> list[str]:
  """The models to score: those of the knob `models` that exist.

  Raises:
    ValueError: a name that is no stage of this config and no folder, or no model is there.
  """
  found = []
  for model, there in _named_models(config, workdir, section).items():
    if there:
      found.append(model)
    else:
      logging.info("%s: there is no model of %r to score", section, model)
  for folder, stage in run_folder.entries(config.stages).items():
    if stage in ("sft", "rl") and folder not in found and (workdir / folder / "model").exists():
      logging.info("%s: the model of %r is not in config.%s.models", section, folder, section)
  if not found:
    raise ValueError(_none(config, section))
  return found


def _none(config: common.Section, section: str) -> str:
  return (
    f"config.{section}.models is {config[section].models!r}, and there is no such model to score: "
    "name folders of models, or hub ids"
  )


def _named_models(config: common.Section, workdir: epath.Path, section: str) -> dict[str, bool]:
  """{model of the knob `models`: whether it is there, or to be looked for by its path or id}.

  Raises:
    ValueError: a name that is no stage of this config and no folder.
  """
  trained = [name for name in config.keys() if "start" in getattr(config[name], "keys", list)()]
  planned = dict.fromkeys([*run_folder.entries(config.stages), *trained])
  out = {}
  for model in map(str.strip, config[section].models.split(",")):
    there = "/" in model or (workdir / model / "model").exists() or pathlib.Path(model).is_dir()
    if not there and model not in planned and not (workdir / model).exists():
      registry.lookup(planned, model, f"model in config.{section}.models")
    out[model] = there
  return out
