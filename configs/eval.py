r"""Scores of a model on pairs with a gold answer: accuracy in both orders, consistency, by task.

Pairs of your own, in a JSONL file:

python -m cot_rm.main --config configs/eval.py --config.eval.models=FOLDER_OR_HUB_ID \
  --config.eval.data=heldout.jsonl --workdir runs/eval

The public benchmarks, from the files of their owners, which have to be downloaded before:

python -m cot_rm.main --config configs/eval.py:vl_rewardbench \
  --config.eval.models=FOLDER_OR_HUB_ID --config.grammar=r1_reward --config.eval.data=VL-RewardBench
python -m cot_rm.main --config configs/eval.py:genai_bench \
  --config.eval.models=FOLDER_OR_HUB_ID --config.eval.data=GenAI-Bench/image_generation

  preset                  data                                    modes besides both and first
  vl_rewardbench          MMInstruction/VL-RewardBench, or the    official r1_reward unified_reward
                          copies of R1-Reward, UnifiedReward      lmms_eval
  mm_rlhf_rewardbench     yifanzhang114/MM-RLHF-RewardBench       r1_reward
  multimodal_rewardbench  all_data.json and images/, made by      official r1_reward lmms_eval
                          its owners' 0_download_data.py
  genai_bench             TIGER-Lab/GenAI-Bench, the folder       unified_reward
                          image_generation or video_generation    unified_reward_{vllm,llava}
  videogen_rewardbench    KwaiVGI/VideoGen-RewardBench, with      unified_reward
                          videos.zip unpacked                     unified_reward_{vllm,llava}
  sharegptvideo           held-out records of ShareGPTVideo-DPO
                          as test.jsonl, and their videos
  mmrb2                   facebookresearch/MMRB2, t2i.json, ...   official
                          and images, made by its owners'
                          benchmark/build_from_hf.py

"both" orders is the fair one; a mode that is called after a project reproduces its scripts, with
their defects (MODES in cot_rm/benchmarks/<preset>.py names them). --config.eval.mode=r1_reward has
the better response always first: yifanzhang114/R1-Reward then has 71.9 % on VL-RewardBench, 82.2 %
on Multimodal RewardBench without Hateful Memes, and 80.6 % and Acc+ 54.4 % on MM-RLHF-RewardBench.
--config.eval.votes=15 adds voting@1, 5 and 15; the paper's results at 15 are 76.5 %, 83.3 %, 86.5 %
and 67.4 %. Videos at addresses on the network (GenAI-Bench's) need --config.data.http.
Of MMRB2, which is for benchmarking only, official leaves answers without a verdict out; its owners
give Qwen2.5-VL-7B 50.9 %. r1_reward compares texts alone, and takes few of its pairs.
An interrupted run continues with the same command; another mode asks only for what it lacks.
Each benchmark needs a workdir of its own: a model's answers to other data are moved aside there.
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
  "mmrb2",
)


def get_config(benchmark: str = "pairs") -> ConfigDict:
  """The config of a benchmark, of benchmarks.BENCHMARKS."""
  base.check_preset(benchmark, PRESETS, "configs/eval.py")
  c = base.get_config()
  c.stages = ("eval",)
  c.model.dtype = "bfloat16"
  c.eval.blank_pairs = 0
  c.eval.benchmark = benchmark
  if benchmark in ("genai_bench", "videogen_rewardbench", "sharegptvideo"):
    c.processor.max_pixels = c.processor.video.max_pixels = 512 * 512  # as UnifiedReward's scripts
  elif benchmark != "pairs":
    # As in R1-Reward's evaluation; frames that are given, 32 of a video, have this bound, too.
    c.processor.max_pixels = 1003520 // 2
    c.processor.video.mode = "qwen_vl_utils_0.0.8"
  if benchmark != "pairs":
    c.eval.max_prompts, c.eval.max_tokens = 4, 4096
    c.buckets.tokens = (1024, 2048, 4096, 8192, 16384)  # 32 frames take up to 10,240
    c.buckets.patches = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
  if benchmark == "mmrb2":  # a pair that thinks with pictures may have 30 of them and more
    c.buckets.tokens = (*c.buckets.tokens, 32768)
    c.buckets.patches = (*c.buckets.patches, 131072)
  return c
