"""The figures of a model on pairs with a gold answer: both orders, consistency, by group.

Pairs of your own, a JSONL file:

python -m cot_rm.main --config configs/eval.py --config.eval.models=FOLDER_OR_HUB_ID \\
  --config.eval.data=heldout.jsonl --workdir runs/eval

The public benchmarks, each from the files of its owners, downloaded before (the hub's
MMInstruction/VL-RewardBench and yifanzhang114/MM-RLHF-RewardBench):

python -m cot_rm.main --config configs/eval.py:vl_rewardbench \\
  --config.eval.models=FOLDER_OR_HUB_ID --config.grammar=r1_reward --config.eval.data=VL-RewardBench
python -m cot_rm.main --config configs/eval.py:mm_rlhf_rewardbench \\
  --config.eval.models=FOLDER_OR_HUB_ID --config.grammar=r1_reward \\
  --config.eval.data=MM-RLHF-RewardBench

--config.eval.mode=r1_reward evaluates as that paper does, the better response always first. Its
model, yifanzhang114/R1-Reward, has there 71.9 % on VL-RewardBench, and 80.6 % and Acc+ 54.4 % on
MM-RLHF-RewardBench. --config.eval.votes=15 adds voting@1, 5 and 15; theirs at 15 are 76.5 %, 86.5 %
and 67.4 %. An interrupted run goes on with the same command.
"""

from configs import base

PRESETS = ("pairs", "vl_rewardbench", "mm_rlhf_rewardbench")  # of benchmarks.BENCHMARKS


def get_config(benchmark="pairs"):
  base.known(benchmark, PRESETS, "configs/eval.py")
  c = base.get_config()
  c.stages = ("eval",)
  c.model.dtype = "bfloat16"
  c.eval.blank_pairs = 0
  c.eval.benchmark = benchmark
  if benchmark != "pairs":
    c.eval.max_prompts, c.eval.max_tokens = 4, 4096
    c.processor.max_pixels = 1003520 // 2  # as R1-Reward's evaluation
    c.buckets.tokens = (1024, 2048, 4096, 8192, 16384)  # 32 frames are up to 10,240
    c.buckets.patches = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
  return c
