r"""Scores of a model on pairs with a gold answer: accuracy in both orders, consistency, by task.

Pairs of your own, in a JSONL file:

python -m cot_rm.main --config configs/eval.py --config.eval.models=FOLDER_OR_HUB_ID \
  --config.eval.data=heldout.jsonl --workdir runs/eval

The public benchmarks, from the files of their owners, which have to be downloaded before
(MMInstruction/VL-RewardBench and yifanzhang114/MM-RLHF-RewardBench on the hub):

python -m cot_rm.main --config configs/eval.py:vl_rewardbench \
  --config.eval.models=FOLDER_OR_HUB_ID --config.grammar=r1_reward --config.eval.data=VL-RewardBench
python -m cot_rm.main --config configs/eval.py:mm_rlhf_rewardbench \
  --config.eval.models=FOLDER_OR_HUB_ID --config.grammar=r1_reward \
  --config.eval.data=MM-RLHF-RewardBench

--config.eval.mode=r1_reward evaluates as that paper does, with the better response always first.
Its model, yifanzhang114/R1-Reward, then has 71.9 % on VL-RewardBench, and 80.6 % and Acc+ 54.4 % on
MM-RLHF-RewardBench. --config.eval.votes=15 adds voting@1, 5 and 15; the paper's results at 15 are
76.5 %, 86.5 % and 67.4 %. An interrupted run continues with the same command.
"""

from ml_collections import ConfigDict

from configs import base

PRESETS = (  # of benchmarks.BENCHMARKS
  "pairs",
  "vl_rewardbench",
  "mm_rlhf_rewardbench",
  "multimodal_rewardbench",
  "genai_bench",
  "videogen_rewardbench",
  "sharegptvideo",
)


def get_config(benchmark: str = "pairs") -> ConfigDict:
  """The config of a benchmark, of benchmarks.BENCHMARKS."""
  base.check_preset(benchmark, PRESETS, "configs/eval.py")
  c = base.get_config()
  c.stages = ("eval",)
  c.model.dtype = "bfloat16"
  c.eval.blank_pairs = 0
  c.eval.benchmark = benchmark
  if benchmark != "pairs":
    c.eval.max_prompts, c.eval.max_tokens = 4, 4096
    # As in R1-Reward's evaluation; frames that are given, 32 of a video, have this bound, too.
    c.processor.max_pixels = 1003520 // 2
    c.processor.video.mode = "qwen_vl_utils_0.0.8"
    c.buckets.tokens = (1024, 2048, 4096, 8192, 16384)  # 32 frames take up to 10,240
    c.buckets.patches = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
  return c
