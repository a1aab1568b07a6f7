"""Stages: a run is a sequence of stages. To add one: write its module, add it to STAGES.

A stage module has

    preflight(config, workdir, name) -> preflight.Checks
    run(config, workdir, name) -> Figures

It works in `workdir / name` and resumes there where it was interrupted. `preflight` looks, before
anything is run, at all that `run` will need. The stages share `stages.common` and the checks of
`stages.preflight`, and import nothing else of each other.
"""

import importlib
import types
from collections.abc import Mapping
from typing import Any, Literal

from cot_rm import registry

# What `run` returns. A mapping: the stage is complete; the program logs and records these figures.
# None: it is complete, without figures. False: it is not complete, and runs again next time.
Figures = Mapping[str, Any] | Literal[False] | None

STAGES = {
  "import": "cot_rm.stages.importing",
  "world": "cot_rm.stages.world",
  "port": "cot_rm.stages.port",
  "distill": "cot_rm.stages.distill",
  "sft": "cot_rm.stages.sft",
  "reject": "cot_rm.stages.reject",
  "rl": "cot_rm.stages.rl",
  "eval": "cot_rm.stages.eval",
  "judge": "cot_rm.stages.judge",
}


def get(name: str) -> types.ModuleType:
  """The module of a stage. Raises ValueError, with the known names, for an unknown name."""
  return importlib.import_module(registry.lookup(STAGES, name, "stage"))
