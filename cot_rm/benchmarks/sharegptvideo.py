"""ShareGPTVideo (Zhang et al., arXiv:2404.01258): pairs of answers to a question about a video.

UnifiedReward holds out pairs of ShareGPTVideo-DPO for a test of video understanding, and has not
said which (1,000 in its first paper, 5,000 in that of its Think model): figures on pairs of one's
own choice are comparable with each other alone. The data have the better answer first.
"""

from collections.abc import Callable, Mapping

from cot_rm import registry
from cot_rm.benchmarks import pairs, rules

NAME = "ShareGPTVideo"
NEEDS = (
  "held-out records of ShareGPTVideo-DPO (id, video, prompt, chosen, rejected) as test.json or "
  "test.jsonl, and the videos or the folders of their frames beside it"
)
LAYOUT = "sharegptvideo_dpo"
FILES: tuple[str, ...] = ("test.json", "test.jsonl")
SIZES: Mapping[str, range] = {
  "UnifiedReward": range(1000, 1001),
  "UnifiedReward-Think": range(5000, 5001),
}


def _rule(orders: Callable, description: str) -> rules.Rule:
  return rules.Rule(
    orders=orders,
    cluster=lambda example: example.extra.get("video", example.id),  # pairs about one video
    description=description,
  )


MODES: dict[str, rules.Rule] = {
  "both": _rule(rules.both, "mean of both orders"),
  "first": _rule(rules.better_first, "the better answer always first"),
}


def score(
  judgements: pairs.Judgements,
  swapped: pairs.Judgements,
  *,
  mode: str = "both",
  fidelity: pairs.Fidelity | None = None,
  contradicts: pairs.Contradicts | None = None,
) -> pairs.Figures:
  """`pairs.tally` of all pairs; `mode` is a name in MODES."""
  rule = registry.lookup(MODES, mode, "mode")
  return pairs.tally(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
