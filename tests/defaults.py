"""Settings with the defaults of configs/base.py, which alone has them, and changes."""

import types
from typing import Any

import optax

from configs import base
from cot_rm import optim
from cot_rm.algorithms import importance_correction

KNOBS = base.get_config()
MAX_TOKENS = 8


def settings(algorithm: types.ModuleType, **changes: Any) -> Any:
  """The Config of an algorithm, with answers of MAX_TOKENS tokens."""
  name = algorithm.__name__.rpartition(".")[2]
  knobs = KNOBS.rl.settings[name].to_dict() | {"max_tokens": MAX_TOKENS}
  return algorithm.Config(**knobs | changes)


def correction(**changes: Any) -> importance_correction.Config:
  """The Config of the importance correction."""
  return importance_correction.Config(**KNOBS.rl.correction.to_dict() | changes)


def optimizer(**changes: Any) -> tuple[optax.GradientTransformation, optim.Schedule]:
  """`optim.make` with the knobs of sft.optim."""
  return optim.make(**KNOBS.sft.optim.to_dict() | changes)
