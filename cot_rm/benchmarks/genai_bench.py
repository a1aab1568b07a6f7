"""GenAI-Bench (Jiang et al., arXiv:2406.04485): two pictures or two videos of a prompt.

People voted for the left one, the right one, or neither: tau is over all pairs, diff over those
with a preference (`ties.score`). The pairs of pictures and those of videos are two benchmarks, each
a folder of TIGER-Lab/GenAI-Bench. The figures of its split `test` and of the earlier one of the
paper, `test_v1`, are not comparable.

UnifiedReward's figures come from three sets of scripts:

    unified_reward        benchmark_evaluation/Qwen_evaluation, also of the Think models of Qwen2.5
    unified_reward_vllm   benchmark_evaluation/vLLM_evaluation and vLLM_qwen3_evaluation
    unified_reward_llava  benchmark_evaluation/LLaVA_evaluation, of the first model: the ones in
                          which a tie can be predicted

Most draw the order of a pair from a coin without a seed: both orders are asked in its place, whose
mean is what the script has on average.
"""

from collections.abc import Mapping, Sequence

from cot_rm import registry
from cot_rm.benchmarks import pairs, readings, rules, ties
from cot_rm.schema import Example, Judged

NAME = "GenAI-Bench"
NEEDS = "a folder of TIGER-Lab/GenAI-Bench, image_generation or video_generation, or data.json"
LAYOUT = "genai_bench"
FILES: tuple[str, ...] = ("test-*.parquet", "data.json")
SIZES: Mapping[str, range] = {
  "image_generation, test_v1": range(1735, 1736),
  "image_generation, test": range(3185, 3206),  # 4.93 thousand less those of test_v1
  "video_generation, test_v1": range(1069, 1070),
  "video_generation, test": range(1906, 1917),  # 2.98 thousand less those of test_v1
  "data.json": range(1889, 1890),  # videos
}


def qwen_scripts(judged: Sequence[Judged], /) -> list[readings.Credit]:
  """The reading of UnifiedReward's Qwen scripts: `substring` of pictures, `first_label` of videos.

  They skip the pairs that people call equal, but count them in tau's denominator: a judge that
  knows all ties has no more than the share of the other pairs.
  """
  pictures, videos = readings.substring(judged), readings.first_label(judged)
  return [
    0.0 if j.example.gold is None else video if j.example.task == "video_generation" else picture
    for j, picture, video in zip(judged, pictures, videos, strict=True)
  ]


def llava_scripts(judged: Sequence[Judged], /) -> list[readings.Credit]:
  """The reading of UnifiedReward's LLaVA scripts: see `compared_label` and `first_label`."""
  pictures, videos = readings.compared_label(judged), readings.first_label(judged)
  return [
    video if j.example.task == "video_generation" else picture
    for j, picture, video in zip(judged, pictures, videos, strict=True)
  ]


def pictures_as_given(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """Both orders of videos, the published one of pictures: the LLaVA scripts swap videos alone."""
  return [(0,) if example.task == "image_generation" else (0, 1) for example in examples]


def videos_as_given(examples: Sequence[Example]) -> list[tuple[int, ...]]:
  """Both orders of pictures, the published one of videos: the vLLM scripts swap pictures alone."""
  return [(0,) if example.task == "video_generation" else (0, 1) for example in examples]


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
    description="the published order; for tau a text without a verdict predicts a tie",
  ),
  "unified_reward": rules.Rule(
    reading=qwen_scripts,
    cluster=prompt,
    tau="each",
    description="both orders for a coin without a seed; right if the right label is anywhere in "
    "the text, of videos the label of the first before that of the second; every tie counts as "
    "wrong in tau",
  ),
  "unified_reward_vllm": rules.Rule(
    orders=videos_as_given,
    reading=readings.substring,
    cluster=prompt,
    description="pictures in both orders for a coin without a seed, videos in the published one; "
    "right if the right label is anywhere in the text; ties are left out",
  ),
  "unified_reward_llava": rules.Rule(
    orders=pictures_as_given,
    reading=llava_scripts,
    cluster=prompt,
    tau="each",
    description="videos in both orders for a coin without a seed, pictures in the published one; "
    "right if the right label is anywhere in the text, of videos the label of the first before "
    "that of the second, and neither is a tie",
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
  """`ties.score` by task; `mode` is a name in MODES."""
  rule = registry.lookup(MODES, mode, "mode")
  return ties.score(judgements, swapped, rule, fidelity=fidelity, contradicts=contradicts)
