r"""The consistency reward put to the test, by a teacher who is right against its own reasoning.

python -m cot_rm.main --config configs/consistency_ablation.py

The base model and the cold start of configs/tiny.py, but this teacher often sees wrong, whatever
is to be seen, and then its verdict is right all the same, as a verdict may be that was there before
its reasoning. It agrees with the label, so it is kept and learnt from. Errors have to be many:
where a teacher errs as rarely as that of configs/tiny.py, RL on verdicts alone unlearns to
contradict. RL follows in two arms from the same model on the same questions, of all families, since
what is not rewarded is not mended: R1-Reward's reward (arXiv:2505.02835) without its consistency
term ("rl"), and with it ("rl_consistency"). The column to look at is "Contradicts": verdicts
against the scores before them.
"""

from configs import base, tiny

PRESETS = tiny.PRESETS


def get_config(size="full"):
  base.known(size, PRESETS, "configs/consistency_ablation.py")
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
