"""Judgements of labelled pairs by a teacher behind an API: the cold start's data, and a difficulty.

export OPENAI_API_KEY=...
python -m cot_rm.main --config configs/distill.py:r1_reward --config.distill.data=pairs.jsonl \
  --workdir runs/teacher
python -m cot_rm.main --config configs/distill.py:unified_reward --config.distill.data=pairs.jsonl

Any service that speaks the OpenAI protocol will do: a vLLM server of your own is
--config.distill.endpoint.base_url=http://localhost:8000/v1 --config.distill.model=NAME.

Writes runs/teacher/distill/data, an ArrayRecord data set with the splits "kept" (with the teacher's
reasoning) and "failed", each with its attempts, and figures.json. Interrupted, or stopped by the
budget, the same command goes on and pays for no call twice; one that is finished runs again from
its cache, without a network.

r1_reward      the Table 1 prompt, all pairs, up to three attempts, temperature 1 as its first
               version says. To expect: of 205,740 pairs 8.4 % take a second attempt or fail.
r1_reward_v2   the same at temperature 0, as the second version says: further attempts at a pair
               then differ only by the service's own noise.
unified_reward the Think prompt, 10,000 pairs of image generation, one attempt at temperature 0
               (the paper states none). To expect: about half agree with the label.
"""

from configs import base

PRESETS = ("r1_reward", "r1_reward_v2", "unified_reward")


def get_config(preset="r1_reward"):
  base.known(preset, PRESETS, "configs/distill.py")
  c = base.get_config()
  c.stages = ("distill",)
  c.distill.endpoint.base_url = "https://api.openai.com/v1"
  c.distill.model = "gpt-4o-2024-08-06"
  c.distill.sampling.seed = None
  # Dollars a million tokens, as OpenAI listed them for this model; check them before a large run.
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
    c.distill.pictures.max_pixels = 89_478_485  # its client shrinks none
    c.distill.budget.dollars = 200.0
  return c
