"""The range of every number in the config, and the known values of shared choices, checked first.

A number out of its range is often found out only where it is used: after the first paid calls, or
after hours of an earlier stage. A number of configs/base.py without a row here fails a test.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from cot_rm import judge, knobs, registry
from cot_rm.data.datasets import row
from cot_rm.media import frames
from cot_rm.sampler import weight_sync
from cot_rm.stages import common


@dataclasses.dataclass(frozen=True)
class Range:
  """The values that a knob may have."""

  least: float = -math.inf
  most: float = math.inf
  integer: bool = True  # whole numbers alone
  above: bool = False  # `least` itself is out of range
  infinite: bool = False  # infinity stands for no bound
  nullable: bool = False  # None is a value

  def holds(self, value: object) -> bool:
    """Whether a value is in the range."""
    if value is None:
      return self.nullable
    if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
      return False
    if not (math.isfinite(value) or (self.infinite and value > 0)):
      return False
    return self.least <= value <= self.most and not (self.above and value == self.least)

  def __str__(self) -> str:
    kind = "a whole number" if self.integer else "a number"
    if self.above:
      bounds = f" above {self.least}"
      bounds += f", at most {self.most}" if math.isfinite(self.most) else ""
    elif math.isfinite(self.most):
      bounds = f" from {self.least} to {self.most}"
    else:
      bounds = f" of {self.least} or more" if math.isfinite(self.least) else ""
    return f"{kind}{bounds}{', or None' if self.nullable else ''}"


SIZE, COUNT, INTEGER = Range(1), Range(0), Range()
FROM_0, ABOVE_0 = Range(0, integer=False), Range(0, integer=False, above=True)
BOUND = Range(0, integer=False, above=True, infinite=True)
SHARE = Range(0, 1, integer=False)


def _or_none(of: Range) -> Range:
  return dataclasses.replace(of, nullable=True)


def _within(section: str, rows: Mapping[str, Range]) -> dict[str, Range]:
  return {f"{section}.{name}": of for name, of in rows.items()}


_SAMPLING = dict(  # of a model of our own
  temperature=FROM_0,
  top_p=Range(0, 1, integer=False, above=True),
  top_k=COUNT,
  repetition_penalty=_or_none(ABOVE_0),
  max_tokens=SIZE,
)
_ASKED = dict(temperature=FROM_0, max_tokens=SIZE, seed=_or_none(INTEGER))  # of a service
_ENDPOINT = dict(concurrency=SIZE, retries=COUNT, request_timeout=ABOVE_0, timeout=ABOVE_0)
_BUDGET = dict(
  calls=COUNT, tokens=COUNT, dollars=FROM_0, prompt_price=FROM_0, completion_price=FROM_0
)
_OPTIM = dict(
  lr=FROM_0,
  warmup=COUNT,
  decay=SHARE,
  final=FROM_0,
  clip=BOUND,
  weight_decay=FROM_0,
  b1=SHARE,
  b2=SHARE,
  muon=FROM_0,
)
_CLIP = dict(clip_low=Range(0, 1, integer=False), clip_high=BOUND)
_RETURNS = dict(kl=FROM_0, reward_bound=BOUND, epsilon=FROM_0)

# {stage: {knob of its section: its range}}; of a tuple the range of each number.
OF_STAGES: dict[str, dict[str, Range]] = {
  "import": dict(val=FROM_0, max_pixels=COUNT, quality=Range(0, 100), shard_mb=SIZE, threads=COUNT),
  "world": {
    "vocab_size": SIZE,
    "corpus": SIZE,
    **_within("shapes", dict(side=SIZE, objects=SIZE, frames=SIZE, frame_side=SIZE)),
    **_within("shapes", dict(image_understanding=FROM_0, image_generation=FROM_0)),
    **_within("shapes", dict(video_understanding=FROM_0, video_generation=FROM_0)),
  },
  "port": {},
  "distill": {
    **dict(count=COUNT, attempts=SIZE, unanswered=COUNT),
    **_within("endpoint", _ENDPOINT),
    **_within("sampling", _ASKED),
    **_within("pictures", dict(quality=Range(1, 100), max_pixels=SIZE, max_frames=SIZE)),
    **_within("budget", _BUDGET),
    **_within("teacher", dict(error=SHARE, per_object=SHARE, relation=SHARE, unparsable=SHARE)),
    **_within("teacher", dict(contradicting=SHARE, seed=INTEGER)),
  },
  "sft": {
    **dict(steps=COUNT, rows=SIZE, examples=COUNT, accumulate=SIZE),
    **dict(eval_every=SIZE, save_every=SIZE),
    **_within("optim", _OPTIM),
  },
  "reject": {
    **dict(count=COUNT, samples=SIZE, keep=SIZE, max_prompts=SIZE),
    **_within("sampling", _SAMPLING),
  },
  "rl": {
    **dict(min_attempts=COUNT, rollouts=SIZE, prompts=SIZE, max_prompts=COUNT, group=SIZE),
    **dict(max_pixels=_or_none(SIZE), max_resample_rounds=SIZE, async_rollouts=Range(0, 1)),
    **dict(train_prompts=SIZE, minibatches=SIZE, epochs=SIZE, accumulate=SIZE),
    **dict(eval_every=SIZE, save_every=SIZE, samples_every=SIZE, vision_check_every=SIZE),
    **_within("sampling", _SAMPLING | dict(logps_temperature=_or_none(ABOVE_0))),
    **_within("optim", _OPTIM),
    **_within("judge.sampling", _ASKED),
    **_within("judge.endpoint", _ENDPOINT),
    **_within("judge.budget", _BUDGET),
    **_within("correction", dict(cap=_or_none(BOUND), low=_or_none(FROM_0), high=_or_none(BOUND))),
    **_within("settings.grpo", dict(**_CLIP, kl=FROM_0, kl_clamp=BOUND, epsilon=FROM_0)),
    **_within("settings.grpo", dict(buffer=COUNT)),
    **_within("settings.rloo", dict(**_CLIP, kl=FROM_0)),
    **_within("settings.reinforce_pp", _CLIP | _RETURNS),
    **_within("settings.stable_reinforce", _CLIP | _RETURNS | dict(filter_bound=BOUND)),
    **_within(
      "settings.stable_reinforce", dict(preclip_low=_or_none(ABOVE_0), preclip_high=_or_none(BOUND))
    ),
  },
  "eval": {
    **dict(pairs=SIZE, blank_pairs=COUNT, val_pairs=SIZE, votes=COUNT, vote_pairs=COUNT),
    **dict(vote_temperature=FROM_0, vote_at=SIZE, samples=COUNT, best=COUNT, worst=COUNT),
    **dict(compare_pairs=COUNT),
    **dict(max_prompts=SIZE, max_tokens=SIZE, repetition_penalty=_or_none(ABOVE_0)),
  },
  "judge": dict(
    votes=SIZE,
    temperature=FROM_0,
    repetition_penalty=_or_none(ABOVE_0),
    max_tokens=SIZE,
    max_prompts=SIZE,
  ),
}
# Of all stages: {knob: its range}.
SHARED: dict[str, Range] = {
  **dict(seed=Range(0, 2**32 - 1), cpu_devices=INTEGER),
  **_within("processor", dict(min_pixels=_or_none(SIZE), max_pixels=_or_none(SIZE))),
  **_within("processor", dict(fps=_or_none(ABOVE_0), max_frames=_or_none(SIZE))),
  **_within("processor.video", dict(min_pixels=_or_none(SIZE), max_pixels=_or_none(SIZE))),
  **_within("processor.video", dict(total_pixels=_or_none(SIZE), min_frames=_or_none(SIZE))),
  **_within("buckets", dict(tokens=SIZE, patches=SIZE, answers=SIZE)),
  **_within("data", dict(max_bad=COUNT, http_timeout=BOUND, http_bytes=SIZE, max_file_pixels=SIZE)),
  **_within("sampler", dict(max_group=COUNT, decode_chunk=SIZE, prefill_chunk=COUNT)),
  **_within("sampler", dict(kv_memory=COUNT, extra_prompts=FROM_0)),
}
# Of all stages: {knob: its known values}, where these are no matter of a model or a layout.
CHOICES: dict[str, Sequence[str | None]] = {
  "model.dtype": judge.DTYPES,
  "model.compute_dtype": (None, *judge.DTYPES),
  "processor.video.mode": (None, *frames.MODES),
  "sampler.weights": get_args(weight_sync.WeightFormat),
  "data.changed": common.CHANGED,
  "data.ties": get_args(row.Ties),
  "data.pairs": get_args(row.Ranked),
}
NEEDED = ("buckets.tokens",)  # tuples that must not be empty
# Stages that validate read the section of eval, too.
ALSO_READ = {"sft": ("eval",), "rl": ("eval",)}


def faults(config: common.Section, name: str, stage: str) -> list[str]:
  """What is out of range in the knobs that a stage reads: shared ones, and its section.

  Args:
    config: the whole config; knobs that it does not have are passed over.
    name: folder of the stage.
    stage: a name of stages.STAGES; one that is not known here has no rows.
  """
  out = _out_of_range(config, "", SHARED)
  for knob, known in CHOICES.items():
    if (value := _get(config, knob)) is not _ABSENT and value not in known:
      shown = [str(one) or "''" for one in known]
      out.append(f"config.{knob} is {value!r}; {registry.hint(value, shown)}")
  for reader in (stage, *ALSO_READ.get(stage, ())):
    section = common.section_name(
      config, name if reader == stage else reader, knobs.SECTION_OF.get(reader, reader)
    )
    out += _out_of_range(config, f"{section}.", OF_STAGES.get(reader, {}))
  return out


_ABSENT = object()


def _get(config: common.Section, knob: str) -> Any:
  """The value of a knob "rl.optim.lr"; _ABSENT where the config does not have it."""
  value: Any = config
  for name in knob.split("."):
    if not hasattr(value, "keys") or name not in value:
      return _ABSENT
    value = value[name]
  return value


def _out_of_range(config: common.Section, section: str, rows: Mapping[str, Range]) -> list[str]:
  out = []
  for inner, of in rows.items():
    knob, value = f"{section}{inner}", _get(config, f"{section}{inner}")
    if value is _ABSENT:
      continue
    # On the command line the section of the stage import is config.import.
    shown = knob.replace("importing.", "import.", 1) if section == "importing." else knob
    if isinstance(value, tuple | list):
      if not all(map(of.holds, value)) or (not value and knob in NEEDED):
        out.append(f"config.{shown} is {tuple(value)!r}; each value of it must be {of}")
    elif not of.holds(value):
      out.append(f"config.{shown} is {value!r}; it must be {of}")
  return out
