r"""Supervised fine-tuning of a Qwen2.5-VL on reference judgements, and its scores.

python -m cot_rm.main --config configs/sft.py --config.sft.start=FOLDER_OR_HUB_ID \
  --config.sft.data=references.jsonl --config.eval.data=heldout.jsonl --workdir runs/sft

Each example of sft.data has `reasoning`, a whole judgement in the form of config.grammar. The
vision tower is frozen, as in UnifiedReward-Think's training on chains of thought.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
  """The config."""
  c = base.get_config()
  c.stages = ("sft", "eval")
  # Updates of 1e-5 are below the resolution of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.model.remat = True
  c.sft.optim.frozen = ("visual",)
  return c
