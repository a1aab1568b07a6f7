r"""Judges the pairs of a JSONL file, and writes their verdicts, probabilities and reasoning.

python -m cot_rm.main --config configs/judge.py --config.judge.start=FOLDER_OR_HUB_ID \
  --config.judge.input=pairs.jsonl --workdir runs/my_pairs

Writes runs/my_pairs/judge/verdicts.jsonl, with one line per pair. The same command continues an
interrupted run, and later judges the pairs that are new or have changed. A pair is a line such as

{"id": "1", "source": "mine", "task": "image_understanding", "question": "...",
"images": ["cat.jpg"], "responses": ["...", "..."], "gold": 1}

in which gold may be missing.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
  """The config."""
  c = base.get_config()
  c.stages = ("judge",)
  c.grammar = "r1_reward"
  c.model.dtype = "bfloat16"
  return c
