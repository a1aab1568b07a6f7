"""Model families. To add one: write the package, add the line.

A family exposes Config, PRESETS, Model, Processor and HF_KEYS.
"""

import importlib

from cot_rm import registry

MODELS = {
  "qwen2_5_vl": "cot_rm.models.qwen2_5_vl",
}


def get(name):
  """The family's package. Raises ValueError on an unknown name."""
  return importlib.import_module(registry.lookup(MODELS, name, "model family"))
