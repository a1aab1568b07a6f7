r"""Stability of RL algorithms under stress, on the built-in world: five arms, a high learning rate.

python -m cot_rm.main --config configs/stability_ablation.py
python -m cot_rm.main --config configs/stability_ablation.py --config.seed=1 \
  --workdir runs/stability-1
python -m cot_rm.main --config configs/stability_ablation.py:constant

The arms start from one SFT model and use the same prompts. Each rollout is trained on in four
epochs of two minibatches, with a learning rate that is high and constant, and all groups are kept.
"constant" uses the video task that SFT has nearly learnt, at a quarter of that learning rate:
nearly all rewards are equal, and the few others are many standard deviations away. A knob of
config.rl holds for all arms (--config.rl.group=4), a knob of an arm for that arm
(--config.grpo.rollouts=60).

bench/stability.py draws the curves. They test a claim of R1-Reward (arXiv:2505.02835): REINFORCE++
collapses or becomes NaN, StableReinforce does not.
"""

from ml_collections import ConfigDict

from configs import base, tiny_grpo

PRESETS = ("full", "constant", "smoke")

ARMS = {  # {folder: (algorithm, changes of its settings)}
  "reinforce_pp": ("reinforce_pp", {}),
  "no_preclip": ("stable_reinforce", dict(preclip_low=None, preclip_high=None)),
  "no_filter": ("stable_reinforce", dict(filter="none")),
  "stable_reinforce": ("stable_reinforce", {}),
  "grpo": ("grpo", dict(kl=0.0)),
}


def get_config(size: str = "full") -> ConfigDict:
  """The config: size "full", "constant" (see above), or "smoke", a small version."""
  base.check_preset(size, PRESETS, "configs/stability_ablation.py")
  c = tiny_grpo.get_config("full" if size == "constant" else size)
  del c.control_sft
  c.stages = ("world", "sft", *(f"{arm}:rl" for arm in ARMS), "eval")
  c.rl.on_nonfinite = "end"
  c.rl.zero_variance, c.rl.minibatches, c.rl.epochs = "keep", 2, 4
  c.rl.prompts = c.rl.train_prompts = 16
  c.rl.optim.update(lr=2e-3, decay=0.0)
  if size == "constant":
    c.rl.tasks = "video_understanding"
    c.rl.optim.lr = 5e-4
  c.rl.rollouts = 2 if size == "smoke" else 120
  c.rl.eval_every = c.rl.save_every = c.rl.samples_every = c.rl.rollouts
  for arm, (algorithm, settings) in ARMS.items():
    c[arm] = base.inherit(c.rl)
    c[arm].algorithm = algorithm
    c[arm].settings[algorithm].update(settings)
  c.eval.models = ",".join(("sft", *ARMS))
  return c
