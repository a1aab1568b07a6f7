"""Judges a file of pairs: JSONL in, JSONL with verdicts, probabilities and reasoning out.

python -m cot_rm.main --config configs/judge.py --config.judge.start=FOLDER_OR_HUB_ID \
  --config.judge.input=pairs.jsonl --workdir runs/my_pairs

Writes runs/my_pairs/judge/verdicts.jsonl, a line a pair; interrupted, the same command goes on. A
pair: {"id": "1", "source": "mine", "task": "image_understanding", "question": "...",
"images": ["cat.jpg"], "responses": ["...", "..."], "gold": 1}; gold may be missing.
"""

from configs import base


def get_config():
  c = base.get_config()
  c.stages = ("judge",)
  c.grammar = "r1_reward"
  c.model.dtype = "bfloat16"
  return c
