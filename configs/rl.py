r"""Reinforcement learning on pairs with a gold answer, by one of the published algorithms.

python -m cot_rm.main --config configs/rl.py --config.rl.start=runs/sft/sft/model \
  --config.rl.data=hard.jsonl --config.eval.data=heldout.jsonl --workdir runs/rl
python -m cot_rm.main --config configs/rl.py:dapo ...   # another preset

unified_reward (the default) is GRPO as in UnifiedReward-Think (arXiv:2505.03318): 8 samples per
prompt at temperature 1, format and accuracy rewards of 1 each, KL weight 0.04, learning rate 1e-6,
images of at most 384 x 384 pixels. The other presets change the algorithm alone, with as many
samples in a step:

  dr_grpo           arXiv:2503.20783: advantages are not divided by the group's standard deviation,
                    and the loss not by the length of the answer; no KL
  dapo              arXiv:2503.14476: upper clip of 0.28, equal weights of all tokens, lower rewards
                    for answers in the last fifth of max_tokens, other prompts in the place of
                    groups that are all right or all wrong; no KL
  gspo              arXiv:2507.18071: the ratio of the whole answer, clipped at 3e-4 and 4e-4; no KL
  rloo              arXiv:2402.14740: the baseline is the mean of the group's other samples, and
                    the gradient that of whole answers: not divided by their length
  reinforce_pp      arXiv:2501.03262: one sample per prompt, the baseline is the rollout's mean
  stable_reinforce  arXiv:2505.02835: reinforce_pp with Pre-CLIP and the paper's advantage filter
"""

from ml_collections import ConfigDict

from configs import base

ONE_SAMPLE = dict(group=1, prompts=128, train_prompts=128)
PRESETS = {  # {preset: (algorithm, changes of its settings, changes of the section rl)}
  "unified_reward": ("grpo", {}, {}),
  "dr_grpo": ("grpo", dict(kl=0.0, normalize="none", aggregate="constant"), {}),
  "dapo": ("grpo", dict(kl=0.0, clip_high=0.28, aggregate="token"), dict(zero_variance="resample")),
  "gspo": ("grpo", dict(kl=0.0, ratio="sequence", clip_low=3e-4, clip_high=4e-4), {}),
  "rloo": ("rloo", {}, {}),
  "reinforce_pp": ("reinforce_pp", {}, ONE_SAMPLE),
  "stable_reinforce": ("stable_reinforce", {}, ONE_SAMPLE),
}


def get_config(preset: str = "unified_reward") -> ConfigDict:
  """The config of a preset, see above."""
  base.check_preset(preset, PRESETS, "configs/rl.py")
  algorithm, settings, knobs = PRESETS[preset]
  c = base.get_config()
  c.stages = ("rl", "eval")
  # Updates of 1e-6 are below the resolution of bfloat16 parameters.
  c.model.dtype, c.model.compute_dtype = "float32", "bfloat16"
  c.sampler.weights = "bfloat16"
  c.model.remat = True
  c.processor.max_pixels = c.processor.video.max_pixels = 384**2
  c.rl.algorithm = algorithm
  # As published, samples without an advantage stay in the batch.
  c.rl.zero_variance = "keep"
  c.rl.settings[algorithm].update(settings)
  c.rl.update(knobs)
  if preset == "dapo":
    c.rl.settings.grpo.buffer = base.follow(c.rl.sampling, "max_tokens") // 5
  return c
