"""What a run is: its stages in order, what each started from, how it was called."""

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


def test_each_stage_has_its_folder_and_its_time(tmp_path):
  (tmp_path / "sft").mkdir()
  (tmp_path / "sft" / "done.json").write_text(json.dumps({"seconds": 185.0}))
  found = run_info.stages(epath.Path(tmp_path), RUN)
  assert found[:3] == [("world", "", ""), ("sft", "", "3 min 05 s"), ("again", "sft", "")]


def test_stages_may_be_one_text():
  assert run_info.plan({"config": {"stages": "sft, c:sft"}}) == {"sft": "sft", "c": "sft"}
  assert run_info.plan(None) == {}


def test_the_config_says_what_a_stage_started_from():
  found = run_info.starts(RUN)
  assert (found["sft"], found["again"], found["control"]) == ("world", "sft", "again")
  assert "eval" not in found and run_info.starts(None) == {}


def test_folders_stand_as_the_run_lists_them(tmp_path):
  for name in ("b", "a", "eval/b/samples", "empty"):
    (tmp_path / name).mkdir(parents=True)
  for name in ("a/metrics.jsonl", "b/metrics.jsonl", "eval/b/samples/000000.jsonl"):
    (tmp_path / name).write_text("")
  found = run_info.order(epath.Path(tmp_path), ["b", "a", "empty"])
  assert [str(path.relative_to(tmp_path)) for path in found] == ["b", "eval/b", "a"]


def test_commands_can_be_run_again_the_last_one_stands_first():
  (_, commit, last), (_, none, first) = run_info.commands(RUN)
  assert (last, commit) == ("main.py --config.seed=3", "0123456789abcdef+")
  assert (first, none) == ("main.py --config 'a b.py'", "no commit")
  assert run_info.commands(None) == []


def test_the_machine_is_that_of_the_last_run():
  found = dict(run_info.machine(RUN))
  assert found["Devices"] == "8 tpu" and found["Processes"] == 2
  assert found["Versions"] == "python 3.11.7, jax 0.10.2" and found["Seed"] == 3
  assert run_info.machine(None) == []


def test_the_words_under_the_title():
  found = run_info.subtitle(RUN, {"sft": {"n": 1300}, "rl": {"n": 1300}})
  assert found == ["1,300 pairs", "seed 3", "8 tpu", "commit 0123456789", "2026-01-02 05:00"]
  assert run_info.subtitle(None, {}) == []


def test_a_file_that_is_not_there_is_none(tmp_path):
  assert run_info.read(epath.Path(tmp_path) / "config.json") is None
