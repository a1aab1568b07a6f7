"""The preflight: what a stage would meet late is said before anything runs."""

import dataclasses
import json

import jax
import pytest
from etils import epath

from cot_rm import main
from cot_rm import workdir as record
from cot_rm.data import array_record
from cot_rm.schema import BadExample
from cot_rm.stages import preflight, reject
from tests.stages.pairs import as_jsonl, pairs, spoilt, wordy


@pytest.fixture
def look(config, workdir):
  """`look(stage)`: the Checks of a stage of the small config in a workdir with world and sft."""
  config.stages = ("world", "sft", "distill", "reject", "rl", "eval", "judge")
  config.judge.input = as_jsonl(workdir / "pairs.jsonl", pairs(6))
  config.distill.data = "world/data"
  return lambda name: preflight.of_stage(config, workdir, name, name)


def the_fault(checks):
  assert len(checks.faults) == 1, checks.faults
  return checks.faults[0]


@pytest.mark.parametrize("name", ["world", "sft", "distill", "reject", "rl", "eval", "judge"])
def test_a_stage_of_a_sound_config_has_no_fault(look, name):
  checks = look(name)
  assert checks.faults == []
  assert not checks.later or name in ("eval",)  # the model of rl


def test_the_table_has_examples_and_the_longest_prompt(look):
  found = look("sft").found
  assert found["world/data references: examples"] == "16"
  assert " tokens (" in found["world/data references: longest prompt"]
  assert " tokens (" in found["world/data references: longest with reference"]
  assert "of" in found["disk"]


def test_what_an_earlier_stage_makes_is_said_and_no_fault(config, tmp_path):
  config.stages = ("world", "sft", "reject", "rl", "eval")
  plan = {name: name for name in config.stages}
  for checks in preflight.run(config, epath.Path(tmp_path), plan):
    assert checks.faults == [], checks.name
    assert checks.later or checks.name == "world"


def test_a_model_that_nobody_makes_is_a_fault(look, config):
  config.rl.start = "sfft"
  assert "config.rl.start is 'sfft'" in the_fault(look("rl"))


def test_the_lengths_of_rl_are_known_before_the_model_it_starts_from(config, workdir):
  config.stages = ("world", "sft2:sft", "rl")
  config.rl.start = "sft2"
  config.rl.data = as_jsonl(workdir / "long.jsonl", [*pairs(3), wordy(pairs(4)[3])])
  checks = preflight.of_stage(config, workdir, "rl", "rl")
  assert "example 'p-3'" in the_fault(checks) and "config.buckets.tokens" in the_fault(checks)
  assert any("sft2" in fact for fact in checks.later)


def test_all_bad_examples_are_listed_at_once_with_the_knob(look, config, workdir):
  given = pairs(8)
  given[1], given[6] = wordy(given[1]), spoilt(given[6])
  config.rl.data = as_jsonl(workdir / "bad.jsonl", given)
  fault = the_fault(look("rl"))
  assert "2 of 8 examples cannot be used" in fault and "config.data.max_bad=2" in fault
  assert "example 'p-1'" in fault and "example 'p-6'" in fault
  config.data.max_bad = 2
  checks = look("rl")
  assert checks.faults == []
  assert checks.found[f"{config.rl.data} train: cannot be used"] == "1 example, 1 media"


@pytest.mark.parametrize(
  "stage, change, words",
  [
    ("rl", {"rl.sampling.max_tokens": 9}, "largest bucket of an answer is 8"),
    ("rl", {"rl.judge.by": "somebody"}, "config.rl.judge.by"),
    ("rl", {"rl.algorithm": "grppo"}, "did you mean 'grpo'"),
    ("rl", {"rl.group": 0}, "config.rl.group is 0"),
    ("rl", {"rl.group": 1}, "config.rl.group is 1, and grpo compares"),
    ("rl", {"rl.order": "ascendng"}, "did you mean 'ascending'"),
    ("rl", {"rl.tasks": "image_generatoin"}, "image_generatoin"),
    ("rl", {"rl.data": ""}, "config.rl.data is empty"),
    ("rl", {"rl.start": ""}, "config.rl.start is empty"),
    ("rl", {"rl.minibatches": 3}, "cannot be split into 3"),
    ("sft", {"sft.rows": 0}, "config.sft.rows is 0"),
    ("sft", {"sft.rows": 4, "sft.accumulate": 3}, "set it to 3 or 6"),
    ("sft", {"sft.steps": 0}, "config.sft.minutes_of"),
    ("sft", {"sft.steps": 0, "sft.minutes_of": "rll"}, "config.sft.minutes_of names 'rll', which"),
    (
      "rl",
      {"rl.sampling.temperature": 0.0, "rl.sampling.logps_temperature": 1.0},
      "config.rl.sampling.temperature above 0",
    ),
    ("sft", {"sft.contradicting": "maybe"}, "known: refuse, keep, drop"),
    ("sft", {"sft.split": "train"}, "has no reasoning to learn from"),
    ("sft", {"sft.optim.frozen": ("visual", "model.layers")}, "did you mean 'layers'"),
    ("rl", {"rl.optim.frozen": ("vision_tower",)}, "begin with embed_tokens, layers, norm, visual"),
    ("sft", {"grammar": "thnk"}, "did you mean 'think'"),
    ("sft", {"mesh.train_rules.mlp": "tensr"}, "config.mesh.train_rules.mlp names the mesh axis"),
    ("judge", {"mesh.sample_rules.vocab": "fsdp"}, "config.mesh.sample_rules: embed and vocab"),
    ("reject", {"reject.samples": 2, "reject.sampling.temperature": 0.0}, "would be the same"),
    ("reject", {"reject.accept": ("acuracy",)}, "did you mean 'accuracy'"),
    ("reject", {"reject.accept": ("consistent",), "grammar": "r1_reward"}, "this stage has none"),
    ("reject", {"reject.split": "trian"}, "trian"),
    ("eval", {"eval.models": "sft,slt"}, "slt"),
    ("eval", {"eval.votes": 3, "eval.vote_temperature": 0.0}, "config.eval.vote_temperature"),
    ("eval", {"eval.votes": 3, "eval.vote_at": (5, 15)}, "has no number up to it"),
    ("eval", {"eval.repetition_penalty": 0.0}, "config.eval.repetition_penalty is 0.0"),
    ("eval", {"eval.benchmark": "vl_rewardbnch"}, "did you mean 'vl_rewardbench'"),
    ("eval", {"eval.mode": "bth"}, "did you mean 'both'"),
    ("judge", {"judge.votes": 3}, "config.judge.temperature"),
    ("judge", {"judge.input": "no.jsonl"}, "no.jsonl"),
    ("world", {"world.preset": "tny"}, "did you mean 'tiny'"),
    ("world", {"world.sizes.train": 0}, "config.world.sizes.train is 0"),
    ("distill", {"distill.attempts": 0}, "config.distill.attempts is 0"),
    ("distill", {"distill.endpoint.base_url": "api.example.org"}, "must begin with http"),
    (
      "distill",
      {
        "distill.endpoint.base_url": "http://localhost",
        "distill.endpoint.limit_field": "max_token",
      },
      "did you mean 'max_tokens'",
    ),
    ("distill", {"distill.budget.dollars": 3.0}, "prices"),
    ("distill", {"distill.pictures.quality": 0}, "config.distill.pictures.quality"),
  ],
)
def test_a_knob_out_of_range_is_a_fault(look, config, stage, change, words):
  config.update_from_flattened_dict(change)
  faults = look(stage).faults
  assert any(words in fault for fault in faults), faults


def test_a_service_without_its_key_or_model_is_a_fault(look, config, monkeypatch):
  monkeypatch.delenv("SOME_KEY", raising=False)
  config.distill.data = "world/data"
  config.distill.endpoint.update(base_url="https://api.example.org/v1", key="SOME_KEY")
  key, model = look("distill").faults
  assert "'SOME_KEY'" in key and "config.distill.endpoint.key" in key
  assert "config.distill.model is empty" in model
  monkeypatch.setenv("SOME_KEY", "x")
  config.distill.model = "teacher"
  assert look("distill").faults == []


def test_numbers_that_devices_cannot_share_come_with_the_nearest_that_they_can(
  config, workdir, monkeypatch
):
  monkeypatch.undo()  # all eight devices
  assert jax.device_count() == 8
  config.stages = ("sft", "rl")
  config.rl.start, config.rl.train_prompts, config.rl.minibatches = "world", 12, 1
  config.sft.rows = 12
  for name in ("sft", "rl"):
    faults = preflight.of_stage(config, workdir, name, name).faults
    knob = "config.sft.rows" if name == "sft" else "config.rl.train_prompts"
    assert any(f"{knob} is 12" in f and "set it to 8 or 16" in f for f in faults), faults


def test_pairs_without_gold_are_a_fault_of_eval_and_reject_before_any_answer(look, config, workdir):
  given = pairs(4)
  given[2] = dataclasses.replace(given[2], gold=None)
  path = as_jsonl(workdir / "nogold.jsonl", given)
  config.eval.data = config.reject.data = path
  for name in ("eval", "reject"):
    assert any("example 'p-2' has no gold" in fault for fault in look(name).faults)


def test_a_reference_that_cannot_be_learnt_from_is_a_fault_of_sft_alone(look, config, workdir):
  given = pairs(4, reasoning=True)
  given[2] = dataclasses.replace(given[2], reasoning=f"{given[2].reasoning}<|im_end|>")
  path = as_jsonl(workdir / "ends.jsonl", given)
  config.sft.data = config.rl.data = config.eval.data = config.judge.input = path
  config.reject.data = path
  assert "'p-2': the reference: the text holds the control token" in look("sft").faults[0]
  for name in ("rl", "reject", "eval", "judge"):
    assert look(name).faults == []


def test_rl_says_how_many_of_its_pairs_have_no_gold(look, config, workdir):
  given = pairs(4)
  given[2] = dataclasses.replace(given[2], gold=None)
  config.rl.data = as_jsonl(workdir / "nogold.jsonl", given)
  checks = look("rl")
  assert checks.faults == []
  assert checks.found[f"{config.rl.data} train: without gold"] == "1 of 4"


def test_a_repeated_id_is_a_fault_where_pairs_are_stored(look, config, workdir):
  given = pairs(4)
  given[3] = dataclasses.replace(given[3], id="p-1")
  config.reject.data = config.rl.data = as_jsonl(workdir / "twice.jsonl", given)
  assert "'p-1'" in the_fault(look("reject"))
  checks = look("rl")
  assert checks.faults == [] and checks.found[f"{config.rl.data} train: repeated ids"] == "1"


def test_references_of_another_grammar_or_verdict_are_counted_and_refused(look, config, workdir):
  given = pairs(6, reasoning=True)
  given[1] = dataclasses.replace(given[1], reasoning="<think>a</think><answer>[[A]]</answer>")
  given[4] = dataclasses.replace(given[4], gold=3 - given[4].gold)
  config.sft.data = as_jsonl(workdir / "other.jsonl", given)
  fault = the_fault(look("sft"))
  assert "2 of 6 references" in fault and "config.sft.contradicting" in fault
  assert "'p-1'" in fault and f"'p-4': the reference prefers {3 - given[4].gold}" in fault
  for value in ("keep", "drop"):
    config.sft.contradicting = value
    assert look("sft").faults == []


def test_too_little_disk_is_a_fault_with_both_numbers(look, monkeypatch):
  free = lambda path: type("Usage", (), {"free": 1000})()
  monkeypatch.setattr(preflight.shutil, "disk_usage", free)
  assert "checkpoints and model needs" in the_fault(look("sft"))
  assert "1e+03 bytes free" not in the_fault(look("sft"))
  assert "1 kB free" in the_fault(look("sft"))


def test_a_dry_run_shows_the_table_and_runs_nothing(config, workdir, capsys):
  config.stages = ("rl",)
  assert main.dry_run(config, workdir)
  assert not (workdir / "rl").exists() and not (workdir / "config.json").exists()
  config.rl.sampling.max_tokens = 9
  assert not main.dry_run(config, workdir)
  said = capsys.readouterr()
  assert "rl: config.rl.sampling.max_tokens is 9" in said.err
  assert "longest prompt" in said.out


def test_a_dry_run_looks_at_a_stage_that_is_done_and_gets_more_steps(config, workdir, capsys):
  config.stages, config.sft.optim.decay = ("sft",), 0.0
  record.record(workdir, json.loads(config.to_json()), ["main"])
  (workdir / "sft" / "done.json").write_text("{}")
  assert main.dry_run(config, workdir)
  assert "longest prompt" not in capsys.readouterr().out
  config.sft.steps *= 2
  assert main.dry_run(config, workdir)
  assert "longest prompt" in capsys.readouterr().out


def test_a_fault_of_a_late_stage_stops_the_run_before_its_first_stage(config, tmp_path):
  config.stages = ("world", "sft", "rl")
  config.rl.sampling.max_tokens = 9
  with pytest.raises(preflight.Refused, match="rl: config.rl.sampling.max_tokens is 9"):
    main.run(config, epath.Path(tmp_path), command=["main"])
  assert not (tmp_path / "world").exists()


def test_what_a_stage_has_made_is_looked_at_before_the_next_one(config, workdir, monkeypatch):
  for name in ("world", "sft"):
    (workdir / name / "done.json").write_text(json.dumps({"seconds": 0, "figures": {}}))
  config.stages = ("world", "sft", "reject", "sft2:sft")
  config.sft.data, config.sft.split = "reject/data", "kept"

  def run(config, workdir, name):
    array_record.write(workdir / "reject" / "data", {"kept": pairs(4)})

  monkeypatch.setattr(reject, "run", run)
  with pytest.raises(preflight.Refused, match="has no reasoning to learn from"):
    main.run(config, workdir, command=["main"])
  assert (workdir / "reject" / "done.json").exists() and not (workdir / "sft2").exists()


def test_an_example_that_cannot_be_stored_is_a_fault_before_any_call(
  look, config, workdir, monkeypatch
):
  def refuses(example):
    if example.id == "p-1":
      raise BadExample("example 'p-1': a value under `extra` is not JSON")

  monkeypatch.setattr(array_record, "check_storable", refuses)
  config.distill.data = config.reject.data = config.rl.data = as_jsonl(
    workdir / "odd.jsonl", pairs(3)
  )
  for name in ("distill", "reject"):
    assert "'p-1': a value under `extra`" in the_fault(look(name))
  assert look("rl").faults == []


def test_the_times_that_a_control_is_measured_by_are_known_or_will_be(config, workdir):
  config.stages, config.control = ("world", "sft", "rl", "control_sft:sft"), True
  faults = lambda: preflight.of_stage(config, workdir, "control_sft", "sft").faults
  assert faults() == []
  config.control_sft.minutes_of = "rl, world"
  assert faults() == []
  config.stages = ("control_sft:sft",)
  config.control_sft.minutes_of = "sft"  # has run in this workdir
  assert faults() == []
  config.control_sft.update(minutes_of="rl,sft", speed_of="world")
  missing, without_steps = faults()
  assert "config.control_sft.minutes_of names 'rl', which is no earlier stage" in missing
  assert "config.control_sft.speed_of names 'world'" in without_steps


def test_pairs_that_an_earlier_stage_makes_are_imported_and_judged_later(config, tmp_path):
  config.stages = ("world", "import", "sft", "judge")
  config.importing.source, config.judge.input = "world/data", "cot_rm:import/data"
  faults = lambda name: preflight.of_stage(config, epath.Path(tmp_path), name, name).faults
  assert faults("import") == faults("judge") == []
  config.importing.update(start="world", check="decod")
  assert "config.import: check is 'decod'; did you mean" in faults("import")[0]
  config.importing.update(start="", check="decode")
  config.stages = ("import", "judge")
  assert "world/data" in faults("import")[0] and "sft" in faults("judge")[0]
