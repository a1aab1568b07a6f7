r"""The whole pipeline on a laptop CPU, offline: distillation, SFT, rejection sampling, SFT, GRPO.

python -m cot_rm.main --config configs/tiny.py
python -m cot_rm.main --config configs/tiny.py --config.control   # and the control experiment
python -m cot_rm.main --config configs/tiny.py:smoke              # the same in a few minutes

base          a base model of the built-in world (see configs/tiny_grpo.py), which can describe
              scenes and answer questions but is a poor judge, as a released checkpoint can see
              and write before it is a reward model
distill       a teacher's judgements of pairs of images for a caption, 1,000 at most
sft           the cold start on these judgements; from here on there are labels alone
reject        the model's own correct judgements of a large pool of pairs of all four tasks
sft2          SFT on those
rl            GRPO on pairs of the same pool, and not on the hard pairs alone: on these the model
              forgets how to judge the others
control_sft   the control: more SFT on the cold start, as long as `reject`, `sft2` and `rl` took
"""

from ml_collections import ConfigDict

from configs import base, tiny_grpo

PRESETS = tiny_grpo.PRESETS


def get_config(size: str = "full") -> ConfigDict:
  """The config, or a small version of it: size "full" or "smoke"."""
  base.check_preset(size, PRESETS, "configs/tiny.py")
  c = tiny_grpo.get_config(size)
  c.stages = (
    "world",
    "base:sft",
    "distill",
    "sft",
    "reject",
    "sft2:sft",
    "rl",
    "control_sft:sft",
    "eval",
  )
  c.buckets.tokens = (40, 96)
  c.world.sizes = dict(base=12000, references=2600, train=10000, check=256, heldout=1300)

  c.base = base.inherit(c.sft)
  c.base.start, c.base.data, c.base.split = "world", "world/data", "base"
  c.base.steps, c.base.eval_every, c.base.save_every = 5000, 2500, 2500
  c.base.optim.update(lr=1e-3, warmup=50, decay=0.5)

  c.distill.data, c.distill.split, c.distill.tasks = "world/data", "references", "image_generation"

  c.sft.start, c.sft.data, c.sft.split = "base", "distill/data", "kept"
  c.sft.steps, c.sft.eval_every, c.sft.save_every = 400, 100, 100
  c.sft.optim.update(lr=3e-4, warmup=20, decay=0.7)

  c.reject.start, c.reject.data, c.reject.split = "sft", "world/data", "train"
  c.reject.accept, c.reject.max_prompts = ("accuracy", "chain"), 64
  c.reject.sampling.max_tokens = base.follow(c.rl.sampling, "max_tokens")

  c.sft2 = base.inherit(c.sft)
  c.sft2.start, c.sft2.data = "sft", "reject/data"
  c.sft2.steps, c.sft2.eval_every, c.sft2.save_every = 1200, 300, 300
  c.sft2.optim.lr = 5e-4

  c.control_sft = base.inherit(c.sft)
  c.control_sft.control, c.control_sft.start = True, "sft"
  c.control_sft.steps, c.control_sft.minutes_of = 0, "reject,sft2,rl"
  c.control_sft.eval_every = c.control_sft.save_every = 100

  c.rl.start, c.rl.rollouts = "sft2", 200
  c.rl.tasks = "image_generation,image_understanding,video_understanding"

  c.eval.models = "base,sft,sft2,rl,control_sft"
  c.eval.votes, c.eval.vote_pairs = 15, 300
  if size == "smoke":
    c.world.sizes = dict(base=64, references=64, train=64, check=8, heldout=16)
    c.sft2.data = "distill/data"  # rejection keeps nothing: a model this small is never right
    for stage in (c.base, c.sft, c.sft2):
      stage.steps = stage.eval_every = stage.save_every = 10
    c.rl.rollouts = c.rl.eval_every = c.rl.save_every = c.rl.samples_every = 2
    c.rl.prompts = 8
  return c
