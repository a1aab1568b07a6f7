r"""R1-Reward at full size (arXiv:2505.02835): Qwen2.5-VL-7B, a long cold start, StableReinforce.

python -m cot_rm.main --config configs/r1_reward.py --config.distill.data=pairs.jsonl \
  --config.eval.data=heldout.jsonl --workdir runs/r1_reward
python -m cot_rm.main --config configs/r1_reward.py:released --config.rl.data=hard.jsonl \
  --config.eval.data=heldout.jsonl ...   # as the released script does it

distill   205,740 pairs judged by gpt-4o, in up to three attempts (see configs/distill.py)
sft       on its reasonings, for the pairs on which it agreed with the label
rl        StableReinforce on the pairs that took two attempts or more, or failed

With references and hard pairs at hand the teacher is not needed: --config.stages=sft,rl,eval
--config.sft.data=references.jsonl --config.rl.data=hard.jsonl --config.rl.min_attempts=0

                     paper                        released
  RL starts from     the SFT checkpoint           Qwen2.5-VL-7B-Instruct
  learning rate      1e-6                         3e-7
  rollouts of 256    337 (17,261 pairs, 5 times)  67 (once)
  KL                 none                         1e-3 x log-ratio, subtracted from token rewards
  advantage filter   |z| <= 3                     within 3 of the mean return, and |z| <= 10
  consistency        1 or 0                       1, -1, or 0 if the judge's answer is unreadable

Both presets: optimizer steps on 128 samples, one sample per prompt, clip 0.2, Pre-CLIP at 1e-3 and
1e3, temperature 1, prompts of up to 20,480 and answers of up to 1,024 tokens, images of 3,136 to
501,760 pixels. SFT has the paper's settings (1e-5, 256 in a batch, one epoch of 205,740). The paper
does not state the schedule of the learning rate and Adam's betas: they are the released script's.
The judge model of the consistency reward is the paper's, Qwen2.5-VL-7B-Instruct at temperature 0.1.
It has to be up before RL begins, at port 8000 of this machine or at
--config.rl.judge.endpoint.base_url:

  vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8000

One thing is not reproduced: the released actor computes its log-probabilities without the images,
so that its vision tower is never trained; here every forward pass sees them, and no parameters are
frozen, as in the script. Batches are those of one process: with several hosts divide prompts,
train_prompts, rows and examples by the number of hosts.

Published accuracies, greedy, and by majority vote of 15 in brackets:

  VL-RewardBench          71.92 (76.46) of 1,250 pairs; SFT alone 64.80, without the filter 68.96,
                          without Pre-CLIP 67.36, REINFORCE++ collapsed; its columns by category are
                          not on the split of the other rows of the paper's table
  Multimodal RewardBench  82.2 (83.3) of 4,711
  MM-RLHF-RewardBench     80.59 (86.47), Acc+ 54.35 (67.39), of 170 pairs with 46 ids

All of them were measured with the better answer always first: expect less in both orders.
"""

from ml_collections import ConfigDict

from configs import base, distill

PRESETS = ("paper", "released")
MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"


def get_config(preset: str = "paper") -> ConfigDict:
  """The config: preset "paper" or "released"."""
  base.check_preset(preset, PRESETS, "configs/r1_reward.py")
  c = base.get_config()
  c.stages = ("distill", "sft", "rl", "eval")
  c.grammar = "r1_reward"
  # Updates of 1e-6 are below the resolution of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.sampler.weights = "bfloat16"
  c.model.remat = True
  c.processor.min_pixels, c.processor.max_pixels = 4 * 28 * 28, 640 * 28 * 28
  c.processor.video.mode = "qwen_vl_utils_0.0.8"  # frames that are given have these bounds, too
  c.buckets.tokens = (1024, 2048, 4096, 20480 + 1024)
  c.buckets.patches = (640, 1280, 2560)
  c.buckets.answers = (256, 512, 1024)

  c.distill = distill.get_config("r1_reward").distill

  # One epoch of 205,740 references, 256 in a step; 256 rows always hold them.
  c.sft.start, c.sft.data, c.sft.split = MODEL, "distill/data", "kept"
  c.sft.steps, c.sft.examples, c.sft.rows, c.sft.accumulate = 804, 256, 256, 8
  c.sft.optim.update(lr=1e-5, warmup=24, decay=0.97, final=0.1, b2=0.95)

  c.rl.data, c.rl.split, c.rl.min_attempts = "distill/data", "kept+failed", 2
  c.rl.algorithm = "stable_reinforce"
  c.rl.group = 1
  # Two minibatches of 128. A sample that the filter drops still counts in the mean of the loss.
  c.rl.prompts = c.rl.train_prompts = 256
  c.rl.minibatches, c.rl.zero_variance, c.rl.accumulate = 2, "keep", 8
  c.rl.sampling.max_tokens = 1024
  c.rl.rollouts = 337
  c.rl.optim.update(lr=1e-6, warmup=20, decay=0.97, final=0.1, b2=0.95)
  c.rl.optim.frozen = ()  # the released script freezes no parameters
  c.rl.rewards = dict(accuracy=1.0, consistency=0.5, format=0.5)
  # This grammar has no scores from which consistency could be computed: a judge model decides.
  c.rl.judge.by, c.rl.judge.model = "service", MODEL
  c.rl.save_every = 25

  c.eval.max_tokens = 4096
  if preset == "released":
    c.stages = ("rl", "eval")
    c.rl.start = MODEL
    c.rl.data, c.rl.split, c.rl.min_attempts = "", "train", 0
    c.rl.rollouts = 67
    c.rl.optim.lr, c.rl.optim.warmup = 3e-7, 4
    c.rl.settings.stable_reinforce.filter = "released"
    c.rl.settings.stable_reinforce.kl = 1e-3
    c.rl.rewards = dict(accuracy=1.0, consistency_released=0.5, format=0.5)
  return c
