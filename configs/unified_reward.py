r"""UnifiedReward-Think at full size (arXiv:2505.03318): cold start, rejection sampling, GRPO.

python -m cot_rm.main --config configs/unified_reward.py --config.distill.data=pairs.jsonl \
  --config.reject.data=pool.jsonl --config.eval.data=heldout.jsonl --workdir runs/unified_reward
python -m cot_rm.main --config configs/unified_reward.py:released ...   # as the released scripts do

distill   10,000 pairs of generated images, judged once by gpt-4o; about half agree with the label
sft       on these reasonings, three epochs: the form of a judgement, for all four tasks
reject    one judgement of each of the pool's 105,000 pairs; correct judgements are kept
sft2      SFT on those
rl        GRPO on the pairs that were judged wrongly, 8 samples each, KL weight 0.04

                     paper                          released
  SFT                16 x 8 devices in a batch      4 devices x 32 in a batch
  its warm-up        30 % of the steps              3 %
  RL                 3 epochs of the hard pairs     2 epochs
  learning rate      2.5e-6 (SFT), 1e-6 (RL)        the same
  clip               0.2 (the paper does not say)   none; with one minibatch the ratio is 1
  top-p of rollouts  1                              0.95
  answers, tokens    2,048                          4,096
  images             512 x 512                      the same; at most 384 x 384 in RL
  accuracy           of a verdict in the grammar    of the first <answer> in any text, which pays
                                                    for known hacks

"released" is qwen_grpo.sh for RL, the script for Qwen2.5-VL, and for SFT 0.cold_start.sh and
1.rejection_sampling.sh, which are not for this model. Settings that the paper does not state are
those of 2.grpo.sh, the script for its LLaVA models. The released Qwen checkpoints were trained with
other programs, whose settings were not published. No source says how many pairs of the pool are
judged correctly: the numbers of steps assume 72,500. Batches are those of one process: with several
hosts divide prompts, train_prompts, rows and examples by the number of hosts.

Published accuracies of the 7B model based on LLaVA-OneVision, with each pair in one random order:

  VL-RewardBench    73.8 overall, 75.9 based on Qwen2.5-VL-7B; 66.9 after the cold start and 72.1
                    after rejection sampling. Its columns by category count 448 items in another
                    column than the benchmark's owners do.
  GenAI-Bench       72.5 of decided image pairs (76.6 based on Qwen2.5-VL-7B), 82.3 of videos (84.0)

The default here, both orders, is harder.
"""

from ml_collections import ConfigDict

from configs import base, distill

PRESETS = ("paper", "released")
MODEL = "CodeGoat24/UnifiedReward-qwen-7b"
# Examples: the teacher's references, and the kept and the hard part of the pool.
COLD, KEPT, HARD = 5_000, 72_500, 32_500


def get_config(preset: str = "paper") -> ConfigDict:
  """The config: preset "paper" or "released"."""
  base.check_preset(preset, PRESETS, "configs/unified_reward.py")
  c = base.get_config()
  c.stages = ("distill", "sft", "reject", "sft2:sft", "rl", "eval")
  c.grammar = "think"
  # Updates of 1e-6 are below the resolution of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.sampler.weights = "bfloat16"
  c.model.remat = True
  c.processor.min_pixels, c.processor.max_pixels = 4 * 28 * 28, 512 * 512
  c.processor.video.max_pixels = 512 * 512
  c.buckets.tokens = (2048, 4096, 8192, 13000)
  c.buckets.patches = (2048, 4096, 8192, 16384)
  c.buckets.answers = (512, 1024, 2048)

  c.distill = distill.get_config("unified_reward").distill
  # The vision tower is frozen. Three epochs of the references, 128 in a step: they take 22 rows if
  # all are pairs of images, 30 to 40 with videos.
  rising = 0.3 if preset == "paper" else 0.03
  c.sft2 = base.inherit(c.sft)
  for knobs, start, data, steps, rows in (
    (c.sft, MODEL, "distill/data", 3 * COLD // 128, 32),
    (c.sft2, "sft", "reject/data", 3 * KEPT // 128, 64),
  ):
    knobs.start, knobs.data, knobs.split = start, data, "kept"
    knobs.steps, knobs.examples, knobs.rows, knobs.accumulate = steps, 128, rows, rows // 32
    knobs.optim.update(lr=2.5e-6, warmup=int(rising * steps), decay=1 - rising, frozen=("visual",))

  c.reject.start, c.reject.samples = "sft", 1
  c.rl.start, c.rl.data, c.rl.split = "sft2", "reject/data", "hard"
  c.rl.algorithm, c.rl.zero_variance, c.rl.settings.grpo.kl_clamp = "grpo", "keep", 11.0
  c.rl.prompts = c.rl.train_prompts = 64
  c.rl.rollouts, c.rl.accumulate = 3 * HARD // 64, 8
  c.rl.rewards = dict(format=1.0, accuracy=1.0)

  c.eval.models = "sft,sft2,rl"
  c.eval.max_tokens = 4096
  if preset == "released":
    c.buckets.answers = (*c.buckets.answers, 4096)
    c.rl.max_pixels = 384 * 384
    c.rl.settings.grpo.kl_clamp = 10.0
    c.rl.rollouts = 2 * HARD // 64
    c.rl.rewards = dict(format=1.0, accuracy_published=1.0)
    c.rl.sampling.top_p, c.rl.sampling.max_tokens = 0.95, 4096
  return c
