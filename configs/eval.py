"""The figures of a model on pairs with a gold answer: both orders, consistency, by task.

python -m cot_rm.main --config configs/eval.py --config.eval.models=FOLDER_OR_HUB_ID \
  --config.eval.data=heldout.jsonl --workdir runs/eval
"""

from configs import base


def get_config():
  c = base.get_config()
  c.stages = ("eval",)
  c.model.dtype = "bfloat16"
  c.eval.blank_pairs = 0
  return c
