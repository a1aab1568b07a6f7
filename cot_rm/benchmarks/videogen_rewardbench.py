"""VideoGen-RewardBench (Liu et al., arXiv:2501.13918): 26.5 thousand pairs of videos of a prompt.

The label is `Overall`, A, B or same: tau is over all pairs, diff over those with a preference
(`ties.score`). UnifiedReward's figures come from three sets of scripts, all with video A first:

    unified_reward        benchmark_evaluation/Qwen_evaluation, also of the Think models of Qwen2.5
    unified_reward_vllm   benchmark_evaluation/vLLM_evaluation and vLLM_qwen3_evaluation, which also
                          leave out videos that cannot be read, without a word
                          (config.data.max_bad)
    unified_reward_llava  benchmark_evaluation/LLaVA_evaluation, of the first model
"""

from collections.abc import Mapping

from cot_rm import registry
from cot_rm.benchmarks import pairs, readings, rules, ties
from cot_rm.schema import Example

NAME = "VideoGen-RewardBench"
NEEDS = "videogen-rewardbench.csv and the folder videos/, unpacked, of KwaiVGI/VideoGen-RewardBench"
LAYOUT = "videogen_rewardbench"
FILES: tuple[str, ...] = ("videogen-rewardbench.csv", "*.csv")
SIZES: Mapping[str, range] = {"all": range(26_400, 26_601)}


def prompt(example: Example) -> str:
  """Pairs of one prompt are correlated."""
  return example.question


MODES: dict[str, rules.Rule] = {
  "both": rules.Rule(
    cluster=prompt,
    tau="agreed",
    description="mean of both orders; for tau both orders must agree, and else predict a tie",
  ),
  "first": rules.Rule(
    orders=rules.first,
    cluster=prompt,
    tau="agreed",
    description="video A first; for tau a text without a verdict predicts a tie",
  ),
  "unified_reward": rules.Rule(
    orders=rules.first,
    reading=readings.first_label,
    cluster=prompt,
    tau="each",
    description="video A first; the label of the first anywhere in the text, else that of the "
    "second, else a tie",
  ),
  "unified_reward_vllm": rules.Rule(
    orders=rules.first,
    reading=readings.substring,
    cluster=prompt,
    description="video A first; right if the right label is anywhere in the text; ties are left "
    "out",
  ),
  "unified_reward_llava": rules.Rule(
    orders=rules.first,
    reading=readings.inside_label,
    cluster=prompt,
    tau="each",
    description="video A first; the first label that the whole text is a part of, else a tie",
  ),
}


def score(
  judgements: pairs.Judgements,
  swapped: pairs.Judgements,
  *,
  mode: str = "both",
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """`ties.score` of all pairs; `mode` is a name in MODES."""
  rule = registry.lookup(MODES, mode, "mode")
  return ties.score(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
