"""Supervised fine-tuning of a Qwen2.5-VL on reference judgements, then its figures.

python -m cot_rm.main --config configs/sft.py --config.sft.start=FOLDER_OR_HUB_ID \
  --config.sft.data=references.jsonl --config.eval.data=heldout.jsonl --workdir runs/sft

The records of sft.data hold `reasoning`, a whole judgement in config.grammar. The vision tower is
frozen, as UnifiedReward-Think trains its chains of thought.
"""

from configs import base


def get_config():
  c = base.get_config()
  c.stages = ("sft", "eval")
  # Steps of 1e-5 would be lost in the rounding of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.model.remat = True
  c.sft.optim.frozen = ("visual",)
  return c
