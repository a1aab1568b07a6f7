r"""The consistency reward, with a teacher whose right verdicts often contradict its reasoning.

python -m cot_rm.main --config configs/consistency_ablation.py

The base model and the cold start of configs/tiny.py, with a teacher that describes 35 % of all
pairs wrongly and then gives the right verdict all the same. Such a judgement agrees with the label,
so it is kept and learnt. The rate has to be this high: with the error rates of configs/tiny.py, RL
on verdicts alone unlearns the contradictions. RL has two arms, from the same model on the same
pairs of all tasks: R1-Reward's reward (arXiv:2505.02835) without its consistency term ("rl"), and
with it ("rl_consistency"). The column "Contradictory" of the report compares them: the fraction of
verdicts that contradict the scores in front of them.
"""

from ml_collections import ConfigDict

from configs import base, tiny

PRESETS = tiny.PRESETS


def get_config(size: str = "full") -> ConfigDict:
  """The config, or a small version of it: size "full" or "smoke"."""
  base.check_preset(size, PRESETS, "configs/consistency_ablation.py")
  c = tiny.get_config(size)
  c.stages = ("world", "base:sft", "distill", "sft", "rl", "rl_consistency:rl", "eval")
  c.distill.teacher.update(error=0.35, per_object=0.0, relation=0.0, contradicting=1.0)
  del c.sft2, c.control_sft
  c.rl.start, c.rl.tasks = "sft", ""
  c.rl.rewards = dict(accuracy=1.0, format=0.5)
  c.rl_consistency = base.inherit(c.rl)
  c.rl_consistency.rewards = dict(accuracy=1.0, consistency=0.5, format=0.5)
  c.eval.models, c.eval.votes = "sft,rl,rl_consistency", 1
  return c
