"""R1-Reward at full size (arXiv:2505.02835): Qwen2.5-VL-7B, a long cold start, StableReinforce.

python -m cot_rm.main --config configs/r1_reward.py --config.distill.data=pairs.jsonl \
  --config.eval.data=heldout.jsonl --workdir runs/r1_reward
python -m cot_rm.main --config configs/r1_reward.py:released --config.rl.data=hard.jsonl \
  --config.eval.data=heldout.jsonl ...   # as the released script does it

distill   205,740 pairs put to gpt-4o, up to three times each (see configs/distill.py)
sft       its reasonings, where it came to the label
rl        StableReinforce on the pairs for which it took two attempts or more, or found no way

Who has references and hard pairs already leaves the teacher out: --config.stages=sft,rl,eval
--config.sft.data=references.jsonl --config.rl.data=hard.jsonl --config.rl.min_attempts=0

                     paper                        released
  RL starts from     the SFT checkpoint           Qwen2.5-VL-7B-Instruct
  learning rate      1e-6                         3e-7
  rollouts of 256    337 (17,261 pairs, 5 times)  67 (once)
  KL                 none                         1e-3 x log-ratio, taken off each token's reward
  advantage filter   |z| <= 3                     the window of the mean return +- 3, |z| <= 10
  consistency        1 or 0                       1, -1, or 0 where the judge cannot be read

Both: updates on 128, one sample a question, clip 0.2, Pre-CLIP at 1e-3 and 1e3, temperature 1,
prompts up to 20,480 and answers up to 1,024 tokens, pictures of 3,136 to 501,760 pixels. SFT is the
paper's (1e-5, 256 a batch, once over 205,740). The schedule of the learning rate and Adam's betas
are the released script's, which the paper does not state. The judge of consistency is the paper's,
Qwen2.5-VL-7B-Instruct at temperature 0.1, and has to be up before RL begins; elsewhere than at port
8000 of this machine it is found by --config.rl.judge.endpoint.base_url:

  vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8000

Not taken over: the released actor's log-probabilities never see the picture; here every forward
pass does. Batches are one process's: on several hosts divide prompts, train_prompts, rows and
examples by their number.

Published figures, greedy, and by the vote of 15 in brackets:

  VL-RewardBench          71.92 (76.46) of 1,250; SFT alone 64.80, without the filter 68.96, without
                          Pre-CLIP 67.36, REINFORCE++ collapsed; its columns by category are on
                          another split than other rows of the paper's table
  Multimodal RewardBench  82.2 (83.3) of 4,711
  MM-RLHF-RewardBench     80.59 (86.47), Acc+ 54.35 (67.39), of 170 pairs in 46 ids

All of them were measured with the better answer always in the first place: expect less in both
orders.
"""

from configs import base, distill

PRESETS = ("paper", "released")
MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"


def get_config(preset="paper"):
  base.known(preset, PRESETS, "configs/r1_reward.py")
  c = base.get_config()
  c.stages = ("distill", "sft", "rl", "eval")
  c.grammar = "r1_reward"
  # Steps of 1e-6 would be lost in the rounding of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.sampler.weights = "bfloat16"
  c.model.remat = True
  c.processor.min_pixels, c.processor.max_pixels = 4 * 28 * 28, 640 * 28 * 28
  c.buckets.tokens = (1024, 2048, 4096, 20480 + 1024)
  c.buckets.patches = (640, 1280, 2560)
  c.buckets.answers = (256, 512, 1024)

  c.distill = distill.get_config("r1_reward").distill

  # 205,740 references once, 256 a step. Each finds room: a full picture fills a row.
  c.sft.start, c.sft.data, c.sft.split = MODEL, "distill/data", "kept"
  c.sft.steps, c.sft.examples, c.sft.rows, c.sft.accumulate = 804, 256, 256, 8
  c.sft.optim.update(lr=1e-5, warmup=24, decay=0.97, final=0.1, b2=0.95)

  c.rl.data, c.rl.split, c.rl.min_attempts = "distill/data", "kept+failed", 2
  c.rl.algorithm = "stable_reinforce"
  c.rl.group = 1
  # A rollout of 256, in two updates of 128; what the filter drops stays and counts in the mean.
  c.rl.prompts = c.rl.train_prompts = 256
  c.rl.minibatches, c.rl.zero_variance, c.rl.accumulate = 2, "keep", 8
  c.rl.sampling.max_tokens = 1024
  c.rl.rollouts = 337
  c.rl.optim.update(lr=1e-6, warmup=20, decay=0.97, final=0.1, b2=0.95)
  c.rl.optim.frozen = ()  # the released script freezes no parameters
  c.rl.rewards = dict(accuracy=1.0, consistency=0.5, format=0.5)
  # No scores in this grammar decide it: without a judge each right answer would have no reward.
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
