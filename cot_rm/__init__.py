"""cot_rm: a multimodal chain-of-thought reward model in JAX.

The public names load their modules when they are first used: importing the package is quick, and
starts no JAX backend.
"""

import importlib

_HOMES = {
  "load": "cot_rm.judge",
  "Completion": "cot_rm.schema",
  "Example": "cot_rm.schema",
  "Media": "cot_rm.schema",
  "Verdict": "cot_rm.schema",
}
__all__ = sorted(_HOMES)


def __getattr__(name):
  if name not in _HOMES:
    raise AttributeError(f"module 'cot_rm' has no attribute {name!r}; it has {', '.join(__all__)}")
  return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
  return [*globals(), *__all__]
