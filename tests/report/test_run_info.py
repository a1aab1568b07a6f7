"""Facts about a run: its stages in order, their start models, the commands."""

import json

from etils import epath

from cot_rm.report import run_info

RUN = {
  "config": {
    "stages": ["world", "sft", "again:sft", "control:sft", "eval"],
    "seed": 3,
    "sft": {"start": "world"},
    "again": {"start": "sft"},
    "more": {"start": "again"},
    "control": "sft",
  },
  "runs": [
    {
      "command": ["main.py", "--config", "a b.py"],
      "time": "2026-01-02T03:04:05+00:00",
      "commit": None,
      "versions": {"jax": "0.10.2"},
      "devices": "1 cpu",
    },
    {
      "command": ["main.py", "--config.seed=3"],
      "time": "2026-01-02T05:00:00+00:00",
      "commit": "0123456789abcdef+",
      "python": "3.11.7",
      "versions": {"jax": "0.10.2"},
      "devices": "8 tpu",
      "processes": 2,
    },
  ],
}


def test_each_stage_has_its_folder_and_its_duration(tmp_path):
  for name in ("world", "sft"):
    (tmp_path / name).mkdir()
  (tmp_path / "sft" / "done.json").write_text(json.dumps({"seconds": 185.0}))
  found = run_info.stages(epath.Path(tmp_path), RUN)
  assert found[:3] == [
    ("world", "", ""),
    ("sft", "", "3 min 05 s"),
    ("again", "sft", "not run"),
  ]


def test_stages_may_be_a_single_text():
  assert run_info.plan({"config": {"stages": "sft, c:sft"}}) == {"sft": "sft", "c": "sft"}
  assert run_info.plan(None) == {}


def test_start_models_are_read_from_the_config_of_an_earlier_version_too():
  found = run_info.start_models(RUN)
  assert (found["sft"], found["again"], found["control"]) == ("world", "sft", "again")
  config = {"stages": ["rl", "sft2:sft", "b:rl"], "rl": {"start": "sft"}, "sft2": {"start": "rl"}}
  found_now = run_info.start_models({"config": config})
  assert found_now == {"rl": "sft", "sft2": "rl", "b": "sft"}
  assert "eval" not in found and run_info.start_models(None) == {}


def test_result_folders_are_in_the_order_of_the_run(tmp_path):
  for name in ("b", "a", "eval/b/samples", "empty"):
    (tmp_path / name).mkdir(parents=True)
  for name in ("a/metrics.jsonl", "b/metrics.jsonl", "eval/b/samples/000000.jsonl"):
    (tmp_path / name).write_text("")
  found = run_info.result_folders(epath.Path(tmp_path), ["b", "a", "empty"], {"b"})
  assert [str(path.relative_to(tmp_path)) for path in found] == ["b", "eval/b", "a"]


def test_commands_can_be_run_again_and_the_newest_is_first():
  (_, commit, last), (_, none, first) = run_info.commands(RUN)
  assert (last, commit) == ("main.py --config.seed=3", "0123456789abcdef+")
  assert (first, none) == ("main.py --config 'a b.py'", "no commit")
  assert run_info.commands(None) == []


def test_the_machine_is_that_of_the_newest_start():
  found = dict(run_info.machine(RUN))
  assert found["Devices"] == "8 tpu" and found["Processes"] == "2"
  assert found["Versions"] == "python 3.11.7, jax 0.10.2" and found["Seed"] == "3"
  assert run_info.machine(None) == []


def test_the_subtitle_names_pairs_seed_devices_commit_and_time():
  found = run_info.subtitle(RUN, {"sft": {"n": 1300}, "rl": {"n": 1300}})
  assert found == ["1,300 pairs", "seed 3", "8 tpu", "commit 0123456789", "2026-01-02 05:00"]
  assert run_info.subtitle(None, {}) == []


def test_a_missing_file_is_none(tmp_path):
  assert run_info.read_json(epath.Path(tmp_path) / "config.json") is None


def test_models_that_an_earlier_command_scored_are_not_shown(tmp_path):
  for name in ("now", "earlier"):
    (tmp_path / "eval" / name / "samples").mkdir(parents=True)
    (tmp_path / "eval" / name / "samples" / "000000.jsonl").write_text("{}")
    (tmp_path / "eval" / name / "card.json").write_text('{"pairs": 7}')
  folder = epath.Path(tmp_path)
  assert [path.name for path in run_info.result_folders(folder, ["eval"], {"now"})] == ["now"]
  assert run_info.reproduction_cards(folder, {"now"}) == {"now": [("pairs", "7")]}
