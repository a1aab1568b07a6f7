r"""SFT on reference judgements, then GRPO on labels: the core of the method, offline on a laptop.

python -m cot_rm.main --config configs/tiny_grpo.py
python -m cot_rm.main --config configs/tiny_grpo.py --config.control   # and the control experiment
python -m cot_rm.main --config configs/tiny_grpo.py:smoke              # the same in two minutes

Makes a world of coloured shapes with four tasks, trains a small Qwen2.5-VL on 2,000 reference
judgements, improves it by GRPO on pairs that have a label and no reference, and scores both models
on held-out pairs. The control (control_sft) is more SFT on the same references, for as many minutes
as RL took.

RL uses the two image tasks alone. After SFT nearly every sample of video_understanding is right, so
that its groups have no advantages; rewards of video_generation are close to random.
"""

from ml_collections import ConfigDict

from configs import base

PRESETS = ("full", "smoke")


def get_config(size: str = "full") -> ConfigDict:
  """The config, or a small version of it: size "full" or "smoke"."""
  base.check_preset(size, PRESETS, "configs/tiny_grpo.py")
  c = base.get_config()
  c.stages = ("world", "sft", "rl", "control_sft:sft", "eval")
  c.grammar = "brief"
  c.buckets.tokens = (40, 88)
  c.buckets.patches = (72,)
  c.buckets.answers = (52,)
  c.processor.min_pixels, c.processor.max_pixels = 28 * 28, 112 * 112
  c.processor.video.mode = "flat"  # the world's videos are smaller than Qwen's bounds of frames
  c.cpu_devices = -2
  c.sampler.decode_chunk, c.sampler.extra_prompts = 52, 0.0  # answers are alike in length
  c.mesh.shape = dict(data=-1, fsdp=1, tensor=1)
  c.world.shapes.update(side=84, objects=(1, 2))
  c.world.sizes = dict(references=2000, train=12000, check=256, heldout=1300)

  c.sft.start, c.sft.data, c.sft.split = "world", "world/data", "references"
  c.sft.steps, c.sft.rows = 1200, 16
  c.sft.eval_every = c.sft.save_every = 300
  c.sft.optim.update(lr=1e-3, warmup=50, decay=0.5, muon=2.0)

  c.control_sft = base.inherit(c.sft)
  c.control_sft.control, c.control_sft.start = True, "sft"
  c.control_sft.steps, c.control_sft.minutes_of = 0, "rl"
  c.control_sft.eval_every = c.control_sft.save_every = 300
  c.control_sft.optim.lr = 3e-4

  c.rl.data, c.rl.tasks = "world/data", "image_generation,image_understanding"
  c.rl.rollouts, c.rl.prompts, c.rl.train_prompts = 300, 32, 16
  c.rl.sampling.max_tokens = 52
  c.rl.settings.grpo.kl = 0.0
  c.rl.rewards = dict(accuracy=1.0, format=0.5, chain=0.5)
  c.rl.eval_every = c.rl.save_every = c.rl.samples_every = 100
  c.rl.optim.update(lr=2e-4, warmup=10, decay=0.5, frozen=())

  c.eval.models, c.eval.data = "sft,rl,control_sft", "world/data"
  c.eval.pairs, c.eval.val_pairs = 1300, 256
  c.eval.max_prompts, c.eval.max_tokens = 64, 52
  if size == "smoke":
    c.world.sizes = dict(references=64, train=64, check=8, heldout=16)
    c.world.corpus = 400
    c.sft.steps = c.sft.eval_every = c.sft.save_every = 10
    c.rl.rollouts = c.rl.eval_every = c.rl.save_every = c.rl.samples_every = 2
    c.rl.prompts = c.rl.train_prompts = 8
    c.eval.pairs = c.eval.blank_pairs = 16
    c.eval.val_pairs = 8
  return c
