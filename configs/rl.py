"""GRPO on pairs with a gold answer, as UnifiedReward-Think does it (arXiv:2505.03318).

python -m cot_rm.main --config configs/rl.py --config.rl.start=runs/sft/sft/model \
  --config.rl.data=hard.jsonl --config.eval.data=heldout.jsonl --workdir runs/rl

8 samples a question at temperature 1, format and accuracy rewards of 1 each, KL weight 0.04,
learning rate 1e-6, pictures of at most 384 pixels a side.
"""

from configs import base


def get_config():
  c = base.get_config()
  c.stages = ("rl", "eval")
  c.model.dtype = "bfloat16"
  c.model.remat = True
  c.processor.max_pixels = 384**2
  return c
