r"""The method on a laptop CPU, offline, in about a quarter of an hour.

python -m cot_rm.main --config configs/tiny.py
python -m cot_rm.main --config configs/tiny.py --config.control=sft   # and the control
python -m cot_rm.main --config configs/tiny.py:smoke                  # the same in two minutes

Makes a world of coloured shapes with four task families and trains a small Qwen2.5-VL on 2,000
reference judgements. From there on it has labels alone: it keeps its own right judgements of 16,000
pairs to learn from (rejection sampling), then improves by GRPO. All are scored on held-out pairs.
The control spends the minutes of what follows SFT on more SFT with the same references.
"""

from configs import base


def get_config(size="full"):
  c = base.get_config()
  c.stages = ("world", "sft", "reject", "again:sft", "rl", "control:sft", "eval")
  c.grammar = "brief"
  c.buckets.tokens = (64, 104)
  c.buckets.patches = (72,)
  c.buckets.answers = (54,)
  c.processor.min_pixels, c.processor.max_pixels = 28 * 28, 112 * 112
  c.cpu_devices = 2
  c.mesh.shape = dict(data=-1, fsdp=1, tensor=1)
  c.world.shapes = dict(side=84, objects=(1, 2))
  c.world.sizes = dict(references=2000, train=20000, check=256, heldout=1300)

  c.sft.start, c.sft.data, c.sft.split = "world", "world/data", "references"
  c.sft.steps, c.sft.rows = 1800, 16
  c.sft.eval_every = c.sft.save_every = 450
  c.sft.optim.update(lr=1e-3, warmup=50, decay=0.5, muon=2.0)

  c.reject.data, c.reject.split = "world/data", "train"
  c.reject.count = 16000
  c.reject.accept, c.reject.rows = ("accuracy", "chain"), 64
  c.reject.sampling.max_tokens = 54

  c.again = c.sft.copy_and_resolve_references()
  c.again.start, c.again.data, c.again.split = "sft", "reject/data", "kept"
  c.again.steps, c.again.eval_every, c.again.save_every = 1000, 250, 250
  c.again.optim.decay = 0.9

  c.more = c.sft.copy_and_resolve_references()
  c.more.start, c.more.steps, c.more.minutes_of = "sft", 0, "reject,again,rl"
  c.more.optim.lr = 3e-4

  c.rl.start, c.rl.data = "again", "world/data"
  c.rl.steps, c.rl.questions, c.rl.train_questions = 300, 48, 16
  c.rl.sampling.max_tokens = 54
  c.rl.settings.grpo.kl = 0.0
  c.rl.rewards = dict(accuracy=1.0, format=0.5, chain=0.5)
  c.rl.eval_every = c.rl.save_every = c.rl.samples_every = 75
  c.rl.optim.update(lr=2e-4, warmup=10, decay=0.5, frozen=())

  c.eval.data = "world/data"
  c.eval.models = "sft,again,rl,control"
  c.eval.pairs, c.eval.check_pairs = 1300, 256
  c.eval.rows, c.eval.max_tokens = 64, 54
  if size == "smoke":
    c.world.sizes = dict(references=64, train=64, check=8, heldout=16)
    c.world.corpus = 400
    c.again.data, c.again.split = "world/data", "references"  # so small a model is never right
    for stage in (c.sft, c.again):
      stage.steps = stage.eval_every = stage.save_every = 10
    c.rl.steps = c.rl.eval_every = c.rl.save_every = c.rl.samples_every = 2
    c.rl.questions = c.rl.train_questions = 8
    c.eval.pairs = c.eval.blank_pairs = 16
    c.eval.check_pairs = 8
  return c
