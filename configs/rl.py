"""Reinforcement learning on pairs with a gold answer, by any of the algorithms.

python -m cot_rm.main --config configs/rl.py --config.rl.start=runs/sft/sft/model \
  --config.rl.data=hard.jsonl --config.eval.data=heldout.jsonl --workdir runs/rl
python -m cot_rm.main --config configs/rl.py:dapo ...   # another preset

unified_reward (the default) is GRPO as UnifiedReward-Think does it (arXiv:2505.03318): 8 samples a
question at temperature 1, format and accuracy rewards of 1 each, KL weight 0.04, learning rate
1e-6, pictures of at most 384 pixels a side. The others take its place in the algorithm alone, and
train on as many samples a step:

  dr_grpo           arXiv:2503.20783: neither the deviation of a group nor a length divides; no KL
  dapo              arXiv:2503.14476: clips at 0.28 above, weighs tokens alike, shapes the rewards
                    of over-long answers (in the last fifth of max_tokens), samples anew for groups
                    that agree; no KL
  gspo              arXiv:2507.18071: the ratio is the answer's, clipped at 3e-4 and 4e-4; no KL
  rloo              arXiv:2402.14740: the mean of the other samples is the baseline
  reinforce_pp      arXiv:2501.03262: one sample a question, the whole rollout is the baseline
  stable_reinforce  arXiv:2505.02835: that with Pre-CLIP and the paper's advantage filter
"""

from configs import base

ONE_EACH = dict(group=1, prompts=128, train_prompts=128)
PRESETS = {  # algorithm, what differs in its settings, and in the other knobs of rl
  "unified_reward": ("grpo", {}, {}),
  "dr_grpo": ("grpo", dict(kl=0.0, normalize="none", aggregate="constant"), {}),
  "dapo": ("grpo", dict(kl=0.0, clip_high=0.28, aggregate="token"), dict(zero_variance="resample")),
  "gspo": ("grpo", dict(kl=0.0, ratio="sequence", clip_low=3e-4, clip_high=4e-4), {}),
  "rloo": ("rloo", {}, {}),
  "reinforce_pp": ("reinforce_pp", {}, ONE_EACH),
  "stable_reinforce": ("stable_reinforce", {}, ONE_EACH),
}


def get_config(preset="unified_reward"):
  base.known(preset, PRESETS, "configs/rl.py")
  algorithm, settings, knobs = PRESETS[preset]
  c = base.get_config()
  c.stages = ("rl", "eval")
  # Steps of 1e-6 would be lost in the rounding of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.sampler.weights = "bfloat16"
  c.model.remat = True
  c.processor.max_pixels = 384**2
  c.rl.algorithm = algorithm
  # All samples stay in the batch, as published, those without an advantage too.
  c.rl.zero_variance = "keep"
  c.rl.settings[algorithm].update(settings)
  c.rl.update(knobs)
  if preset == "dapo":
    c.rl.settings.grpo.buffer = c.rl.sampling.get_ref("max_tokens") // 5
  return c
