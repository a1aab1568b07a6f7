r"""Converts a Hugging Face checkpoint to a model folder of this package, or a model folder back.

python -m cot_rm.main --config configs/port.py --config.port.source=FOLDER_OR_HUB_ID \
  --workdir runs/my_model

Writes runs/my_model/port/model, from which every other stage and `cot_rm.load` can start. With
--config.port.target=hf and a model folder as the source it writes a folder that transformers loads.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
  """The config."""
  c = base.get_config()
  c.stages = ("port",)
  return c
