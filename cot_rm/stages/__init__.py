"""Stages: a run is some of these in order. To add one, write its module and add its line.

A stage module has `run(config, workdir, name)`. It works in `workdir / name` and resumes there
where it was interrupted. It returns its figures (a dict of numbers, which the program logs and
keeps) or None, and is then done; or False, and runs again next time.
"""

import difflib
import importlib

STAGES = {
  "world": "cot_rm.stages.world",
  "port": "cot_rm.stages.port",
  "sft": "cot_rm.stages.sft",
  "rl": "cot_rm.stages.rl",
  "eval": "cot_rm.stages.eval",
  "judge": "cot_rm.stages.judge",
}


def get(name):
  """The module of a stage. Raises ValueError, with the known names, when there is none."""
  if name not in STAGES:
    near = difflib.get_close_matches(name, STAGES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown stage {name!r}; {hint}known: {', '.join(STAGES)}")
  return importlib.import_module(STAGES[name])


def find(workdir, value):
  """What a config names: a stage's model or a file of the workdir if it is there, else a path.

  "sft" is workdir/sft/model where a stage of that name left a model; "world/data" is
  workdir/world/data where it exists; anything else (a path, a hub id) stays what it is.

  Raises:
    ValueError: the config names nothing.
  """
  if not value:
    raise ValueError(
      "a stage was told no model to start from, or no data to read: its knobs `start` "
      "and `data` name an earlier stage's folder, a path, or a hub id"
    )
  for path in (workdir / value / "model", workdir / value):
    if path.exists():
      return str(path)
  return value
