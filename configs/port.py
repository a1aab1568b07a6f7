"""Brings a Hugging Face checkpoint of a supported family into a model folder of ours, or back.

python -m cot_rm.main --config configs/port.py --config.port.source=FOLDER_OR_HUB_ID \
  --workdir runs/my_model

Writes runs/my_model/port/model, which every other stage and `cot_rm.load` take. The way back, a
folder that transformers loads, is `--config.port.target=hf` with a model folder as the source.
"""

from configs import base


def get_config():
  c = base.get_config()
  c.stages = ("port",)
  return c
