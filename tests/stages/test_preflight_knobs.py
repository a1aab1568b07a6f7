"""Every number of the config has a range, and one outside it is said before anything runs."""

import math

import pytest
from ml_collections import ConfigDict

from configs import base
from cot_rm import knobs, stages
from cot_rm import workdir as workdir_module
from cot_rm.stages import common, preflight, preflight_knobs, preflight_rl
from tests.test_configs import PRESETS, load

# Their keys are free; sharding.make_mesh and the preflights of world and rl check them.
TABLES = ("mesh.shape", "world.sizes", "rl.rewards")


def numbers(section, path=""):
  """(knob, value, whether it may be None) of each knob that is a number or a tuple of numbers."""
  for name, value in section.items():
    knob = f"{path}{name}"
    if isinstance(value, ConfigDict):
      if knob not in TABLES:
        yield from numbers(value, f"{knob}.")
      continue
    reference = section.get_ref(name)
    kinds = {type(one) for one in value} if isinstance(value, tuple) else {reference.get_type()}
    if kinds & {int, float}:
      yield knob, value, getattr(reference, "nullable", False)


def ranges():
  """{knob: its Range} of base.py."""
  out = dict(preflight_knobs.SHARED)
  for stage, rows in preflight_knobs.OF_STAGES.items():
    out |= {f"{knobs.SECTION_OF.get(stage, stage)}.{knob}": of for knob, of in rows.items()}
  return out


def test_every_number_of_base_has_a_range_with_its_default_and_every_row_is_a_knob():
  found, known = {knob: rest for knob, *rest in numbers(base.get_config())}, ranges()
  assert found.keys() == known.keys()
  for knob, (value, nullable) in found.items():
    each = value if isinstance(value, tuple) else (value,)
    assert all(map(known[knob].holds, each)), knob
    assert known[knob].nullable == nullable, knob
    assert not known[knob].holds(math.nan) and not known[knob].holds("1"), knob
    assert isinstance(each[0], float) <= (not known[knob].integer), knob
  assert preflight_knobs.OF_STAGES.keys() == stages.STAGES.keys()


@pytest.mark.parametrize(
  "of, inside, outside, words",
  [
    (
      preflight_knobs.SIZE,
      [1, 10**9],
      [0, -1, 1.0, True, None, "2"],
      "a whole number of 1 or more",
    ),
    (preflight_knobs.ABOVE_0, [1e-9, 3], [0, -1.0, math.inf], "a number above 0"),
    (preflight_knobs.SHARE, [0, 0.5, 1], [-1e-9, 1.1], "a number from 0 to 1"),
    (preflight_knobs.BOUND, [0.1, math.inf], [0, -math.inf, math.nan], "a number above 0"),
    (
      preflight_knobs.Range(0, 1, integer=False, above=True, nullable=True),
      [None, 0.5, 1],
      [0, 2],
      "a number above 0, at most 1, or None",
    ),
  ],
)
def test_a_range_holds_what_its_words_say(of, inside, outside, words):
  assert all(map(of.holds, inside)) and not any(map(of.holds, outside))
  assert str(of) == words


@pytest.mark.parametrize(
  "stage, change, words",
  [
    ("sft", {"sft.steps": -1}, "config.sft.steps is -1; it must be a whole number of 0 or more"),
    ("sft", {"sft.accumulate": 0}, "config.sft.accumulate is 0"),
    ("sft", {"sft.optim.clip": 0.0}, "config.sft.optim.clip is 0.0; it must be a number above 0"),
    ("sft", {"sft.optim.lr": math.nan}, "config.sft.optim.lr is nan"),
    ("sft", {"eval.val_pairs": 0}, "config.eval.val_pairs is 0"),
    ("rl", {"eval.max_tokens": 0}, "config.eval.max_tokens is 0"),
    ("rl", {"rl.max_resample_rounds": 0}, "config.rl.max_resample_rounds is 0"),
    ("rl", {"rl.max_prompts": -1}, "config.rl.max_prompts is -1"),
    ("rl", {"rl.async_rollouts": 2}, "config.rl.async_rollouts is 2"),
    ("rl", {"rl.prompts": None}, "config.rl.prompts is None"),
    ("rl", {"rl.settings.grpo.clip_low": -0.2}, "config.rl.settings.grpo.clip_low is -0.2"),
    ("eval", {"eval.vote_at": (1, 0)}, "config.eval.vote_at is (1, 0); each value of it must be"),
    ("eval", {"eval.vote_at": (1, "5")}, "config.eval.vote_at is (1, '5')"),
    ("eval", {"eval.worst": -1}, "config.eval.worst is -1"),
    ("reject", {"reject.count": -1}, "config.reject.count is -1"),
    ("distill", {"distill.sampling.temperature": -1.0}, "config.distill.sampling.temperature"),
    ("distill", {"distill.endpoint.concurrency": 0}, "config.distill.endpoint.concurrency is 0"),
    ("distill", {"distill.budget.prompt_price": math.nan}, "config.distill.budget.prompt_price"),
    ("import", {"importing.threads": -1}, "config.import.threads is -1"),
    ("import", {"importing.shard_mb": 0}, "config.import.shard_mb is 0"),
    ("judge", {"sampler.decode_chunk": 0}, "config.sampler.decode_chunk is 0"),
    (
      "judge",
      {"model.dtype": "float23"},
      "config.model.dtype is 'float23'; did you mean 'float32'",
    ),
    ("judge", {"model.compute_dtype": "f"}, "known: None, float32, bfloat16"),
    ("judge", {"buckets.tokens": ()}, "config.buckets.tokens is ()"),
    ("judge", {"buckets.tokens": (0, 4)}, "config.buckets.tokens is (0, 4)"),
    ("judge", {"data.changed": "stopp"}, "config.data.changed is 'stopp'; did you mean 'stop'"),
  ],
)
def test_a_knob_out_of_range_is_named_with_its_value(config, workdir, stage, change, words):
  config.update_from_flattened_dict(change)
  (fault,) = preflight.of_stage(config, workdir, stage, stage).faults
  assert words in fault


@pytest.mark.parametrize("name, preset", PRESETS)
def test_the_knobs_of_every_preset_are_in_their_ranges(name, preset):
  config = load(name, *preset)
  for folder, stage in workdir_module.entries(config.stages).items():
    assert preflight_knobs.faults(config, folder, stage) == []
    if stage == "rl":
      checks = preflight.Checks(folder)
      section = common.section(config, folder, stage)
      preflight_rl.check_learning(checks, section, f"config.{folder}")
      assert checks.faults == []


def test_a_copy_of_a_section_has_the_ranges_of_its_stage():
  config = base.get_config()
  config.sft2 = base.inherit(config.sft)
  config.sft2.rows = 0
  assert preflight_knobs.faults(config, "sft2", "sft") == [
    "config.sft2.rows is 0; it must be a whole number of 1 or more"
  ]
  assert preflight_knobs.faults(config, "sft", "sft") == []
  assert preflight_knobs.faults(ConfigDict({"seed": 1}), "mine", "mine") == []


def test_a_fault_of_a_shared_knob_is_said_once_with_its_stages(config, workdir):
  config.sampler.decode_chunk = 0
  plan = {name: name for name in ("sft", "rl")}
  (fault,) = preflight.faults_of(preflight.run(config, workdir, plan))
  assert fault.startswith("sft, rl: config.sampler.decode_chunk is 0")
