r"""Judgements of labelled pairs by a teacher behind an API: data for a cold start.

export OPENAI_API_KEY=...
python -m cot_rm.main --config configs/distill.py:r1_reward --config.distill.data=pairs.jsonl \
  --workdir runs/teacher
python -m cot_rm.main --config configs/distill.py:unified_reward --config.distill.data=pairs.jsonl

Any service with the OpenAI protocol can be the teacher. A vLLM server of your own is
--config.distill.endpoint.base_url=http://localhost:8000/v1 --config.distill.model=NAME.

Writes runs/teacher/distill/data, an ArrayRecord data set with the splits "kept" (with the teacher's
reasoning) and "failed", both with the number of attempts, and figures.json. If the run is
interrupted, or stopped by its budget, the same command continues and pays for no call twice. A
finished run can be repeated from its cache, without a network.

r1_reward      the prompt of Table 1, all pairs, up to three attempts, temperature 1 as the paper's
               first version says. Expect 8.4 % of 205,740 pairs to take more attempts or to fail.
r1_reward_v2   the same at temperature 0, as the second version says: attempts at a pair then differ
               only by the noise of the service.
unified_reward the Think prompt, 10,000 pairs of image generation, one attempt, temperature 0 (the
               paper states none). Expect about half to agree with the label.
"""

from ml_collections import ConfigDict

from configs import base

PRESETS = ("r1_reward", "r1_reward_v2", "unified_reward")


def get_config(preset: str = "r1_reward") -> ConfigDict:
  """The config of a preset, see above."""
  base.check_preset(preset, PRESETS, "configs/distill.py")
  c = base.get_config()
  c.stages = ("distill",)
  c.distill.endpoint.base_url = "https://api.openai.com/v1"
  c.distill.model = "gpt-4o-2024-08-06"
  c.distill.sampling.seed = None
  # Dollars per million tokens, as OpenAI listed them for this model; check before a large run.
  c.distill.budget.prompt_price, c.distill.budget.completion_price = 2.5, 10.0
  if preset in ("r1_reward", "r1_reward_v2"):
    c.grammar = "r1_reward"
    c.distill.count, c.distill.attempts = 0, 3
    c.distill.sampling.temperature = 1.0 if preset == "r1_reward" else 0.0
    c.distill.budget.dollars = 3000.0
  else:
    c.grammar = "think"
    c.distill.count, c.distill.attempts, c.distill.tasks = 10_000, 1, "image_generation"
    c.distill.sampling.temperature = 0.0
    c.distill.pictures.max_pixels = 89_478_485  # the paper's client shrinks no image
    c.distill.budget.dollars = 200.0
  return c
