"""Model families. To add one: write the package, add the line.

A family exposes Config, PRESETS, Model, Processor and HF_KEYS.
"""

import difflib
import importlib

MODELS = {
  "qwen2_5_vl": "cot_rm.models.qwen2_5_vl",
}


def get(name):
  """The family's package. Raises ValueError on an unknown name."""
  if name not in MODELS:
    near = difflib.get_close_matches(name, MODELS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown model family {name!r}{hint} Known: {', '.join(MODELS)}")
  return importlib.import_module(MODELS[name])
