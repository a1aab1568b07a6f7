"""Every knob has a meaning: the stages whose output depends on it."""

import importlib
import json
import pathlib

import pytest

from configs import base
from cot_rm import knobs, stages

CONFIG = json.loads(base.get_config().to_json())
PLAN = {name: name for name in stages.STAGES}


def affected(name, old=CONFIG, new=CONFIG, plan=PLAN):
  return knobs.affected(tuple(name.split(".")), old, new, plan)


def test_every_knob_of_base_has_a_class():
  of_stages = {knobs.SECTION_OF.get(stage, stage) for stage in stages.STAGES}
  lost = []
  for path, _ in knobs.leaves(CONFIG):
    names = [".".join(path[:length]) for length in range(1, len(path) + 1)]
    if not (path[0] in of_stages or any(name in knobs.SHARED for name in names)):
      lost.append(f"config.{'.'.join(path)} has no row in knobs.SHARED")
  assert not lost, "\n".join(lost)


def test_every_row_is_a_knob_or_section_of_base():
  names = set()
  for path, _ in knobs.leaves(CONFIG):
    names |= {".".join(path[:length]) for length in range(1, len(path) + 1)}
  rows = {*knobs.SHARED, *knobs.LARGEST}
  for stage, inner in knobs.FREE.items():
    rows |= {f"{knobs.SECTION_OF.get(stage, stage)}.{name}" for name in inner}
  rows |= {f"{stage}.{name}" for stage, name in knobs.EXTENDED.items()}
  assert not rows - names, rows - names
  assert {kind for row in knobs.SHARED.values() for kind in row} <= {*knobs.STAGES}
  assert {*knobs.FREE, *knobs.ASKS_AGAIN, *knobs.EXTENDED} <= {*knobs.STAGES}
  assert set(knobs.STAGES) == stages.STAGES.keys()


@pytest.mark.parametrize(
  "knob, due",
  [
    ("stages", []),
    ("sampler.kv_memory", []),
    ("sampler.decode_chunk", []),
    ("model.remat", []),
    ("mesh.shape.fsdp", []),
    ("cpu_devices", []),
    ("data.max_bad", []),
    ("eval.votes", []),
    ("eval.max_tokens", []),
    ("judge.votes", []),
    ("sft.eval_every", []),
    ("sft.accumulate", []),
    ("rl.max_prompts", []),
    ("rl.judge.endpoint.base_url", []),
    ("distill.budget.calls", []),
    ("distill.unanswered", []),
    ("sft.rows", ["sft"]),
    ("sft.optim.lr", ["sft"]),
    ("rl.judge.model", ["rl"]),
    ("distill.model", ["distill"]),
    ("importing.videos", ["import"]),
    ("importing.threads", []),
    ("world.side", ["world"]),
    ("model.dtype", ["sft", "reject", "rl"]),
    ("processor.max_pixels", ["import", "sft", "reject", "rl"]),
    ("unknown.knob", list(PLAN)),
    ("unknown", list(PLAN)),
  ],
)
def test_a_knob_decides_the_output_of_these_stages(knob, due):
  assert affected(knob) == due


def test_of_the_buckets_only_the_largest_matters():
  def buckets(*tokens):
    return CONFIG | {"buckets": CONFIG["buckets"] | {"tokens": list(tokens)}}

  assert affected("buckets.tokens", buckets(256, 512), buckets(128, 512)) == []
  assert affected("buckets.tokens", buckets(256, 512), buckets(256, 1024)) == ["import", "sft"]
  assert affected("buckets.answers") == []


def test_a_stage_that_runs_again_reads_its_own_section_or_that_of_the_stage():
  plan = {"sft": "sft", "sft2": "sft"}
  assert affected("sft.optim.lr", plan=plan) == ["sft", "sft2"]
  own = CONFIG | {"sft2": CONFIG["sft"]}
  assert affected("sft.optim.lr", own, own, plan) == ["sft"]
  assert affected("sft2.optim.lr", own, own, plan) == ["sft2"]
  assert affected("sft2.eval_every", own, own, plan) == []
  assert affected("sft2.optim.lr", own, CONFIG, plan) == ["sft2"]  # the section was removed
  assert affected("sft2.optim.lr", own, own, {"sft": "sft"}) == []  # no stage reads it


def test_a_stage_of_ones_own_depends_on_all_that_a_stage_depends_on():
  plan = {"mine": "mine", "port": "port"}
  assert affected("seed", plan=plan) == affected("sampler.weights", plan=plan) == ["mine"]
  assert affected("model.remat", plan=plan) == affected("sft.optim.lr", plan=plan) == []


def test_stages_are_made_from_others_by_way_of_others():
  config = CONFIG | {
    "sft": CONFIG["sft"] | {"start": "world", "data": "distill/data", "steps": 3},
    "reject": CONFIG["reject"] | {"start": "sft", "data": "world/data"},
    "rl": CONFIG["rl"] | {"start": "sft", "data": "reject/data"},
    "control": CONFIG["sft"]
    | {"start": "sft", "data": "x", "steps": 0, "minutes_of": "rl, reject"},
  }
  plan = {**PLAN, "control": "sft"}
  of = lambda folder: set(knobs.dependents(folder, config, plan))
  assert of("distill") == {"sft", "reject", "rl", "control"}
  assert of("reject") == {"rl", "control"} and of("rl") == {"control"}
  assert of("control") == of("eval") == set()


def test_the_sources_of_stages_are_knobs_that_stages_have():
  text = "".join(path.read_text() for path in pathlib.Path(stages.__file__).parent.glob("*.py"))
  assert all(f"knobs.{name}" in text for name in knobs.SOURCES)
  assert importlib.import_module("cot_rm.knobs") is knobs
