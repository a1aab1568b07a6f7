"""The program: stages in order, each once; what was run is written down."""

import json
import shutil
import sys
import types

import pytest
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from configs import base
from cot_rm import main, stages
from cot_rm.stages import preflight
from tests import programs

SMALL = """
from ml_collections import ConfigDict
def get_config():
  c = ConfigDict(dict(stages=("m",), seed=0, compile_cache="", cpu_devices=0,
                      dry_run=False))
  c.optim = ConfigDict(dict(lr=0.5))
  return c
"""


def preflighted(config, workdir, folder):
  return preflight.Checks(folder)


@pytest.fixture
def calls(monkeypatch):
  """Puts two stages into the table that only note that they were run; returns the notes."""
  notes = []

  def stage(name, result):
    def run(config, workdir, folder):
      (workdir / folder).mkdir(parents=True, exist_ok=True)
      notes.append((name, folder, config.seed))
      if isinstance(result, Exception):
        raise result
      return result

    module = types.ModuleType(f"fake_{name}")
    module.run, module.preflight = run, preflighted
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(stages.STAGES, name, module.__name__)

  stage("learn", {"accuracy": 0.5})
  stage("score", None)
  stage("break", RuntimeError("the power went out"))
  stage("repeat", False)
  return notes


@pytest.fixture
def said(monkeypatch):
  lines = []
  monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
  return lines


def config(*names, **knobs):
  plain = {"stages": names, "seed": 0, "compile_cache": "", "control": "", "dry_run": False}
  plain |= {"optim": {"lr": 1e-3}, "data": base.get_config().data.to_dict()}
  return ConfigDict(plain | knobs)


def run(workdir, settings):
  main.run(settings, epath.Path(workdir), command=["main", "--config", "x.py"])


def test_stages_run_in_order_and_are_marked_done(tmp_path, calls, said):
  run(tmp_path, config("learn", "score"))
  assert calls == [("learn", "learn", 0), ("score", "score", 0)]
  done = json.loads((tmp_path / "learn" / "done.json").read_text())
  assert done.pop("seconds") >= 0
  assert done == {"stage": "learn", "figures": {"accuracy": 0.5}}
  assert any(line.startswith("learn took 0 s: accuracy 0.500") for line in said)


def test_a_complete_stage_is_skipped_and_its_figures_are_logged(tmp_path, calls, said):
  run(tmp_path, config("learn"))
  run(tmp_path, config("learn", "score"))
  assert [name for name, *_ in calls] == ["learn", "score"]
  folder = tmp_path / "learn"
  assert f"learn was done before, in 0 s: accuracy 0.500; to run it again, remove {folder}" in said


def test_a_complete_stage_whose_source_has_changed_is_named(tmp_path, calls, monkeypatch):
  warned = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: warned.append(text % args))
  (tmp_path / "pairs.jsonl").write_text("1")
  settings = config("learn", learn={"data": str(tmp_path / "pairs.jsonl")})
  run(tmp_path / "run", settings)
  run(tmp_path / "run", settings)
  assert len(calls) == 1 and not warned
  (tmp_path / "pairs.jsonl").write_text("22")
  run(tmp_path / "run", settings)
  assert len(calls) == 1 and len(warned) == 1
  assert "learn was made from something else than what its knob data names today" in warned[0]


def test_a_stage_runs_again_if_its_folder_was_removed(tmp_path, calls):
  run(tmp_path, config("learn", "score"))
  shutil.rmtree(tmp_path / "score")
  run(tmp_path, config("score"))
  assert [name for name, *_ in calls] == ["learn", "score", "score"]


def test_a_stage_that_raised_runs_again(tmp_path, calls):
  for _ in range(2):
    with pytest.raises(RuntimeError, match="the power went out"):
      run(tmp_path, config("learn", "break", "score"))
  assert [name for name, *_ in calls] == ["learn", "break", "break"]


def test_a_stage_that_returns_false_runs_every_time(tmp_path, calls):
  run(tmp_path, config("repeat"))
  run(tmp_path, config("repeat"))
  assert len(calls) == 2


def test_one_stage_can_run_twice_in_two_folders(tmp_path, calls):
  run(tmp_path, config("learn", "learn2:learn"))
  assert [(name, folder) for name, folder, _ in calls] == [("learn", "learn"), ("learn", "learn2")]
  assert (tmp_path / "learn2" / "done.json").exists()


def test_two_stages_in_one_folder_are_refused(tmp_path, calls):
  with pytest.raises(ValueError, match="'learn2:learn'"):
    run(tmp_path, config("learn", "learn"))


def test_an_unknown_stage_fails_before_anything_is_run_or_written(tmp_path, calls):
  with pytest.raises(ValueError, match="did you mean 'learn'"):
    run(tmp_path / "run", config("score", "lern"))
  assert not calls and not (tmp_path / "run").exists()


def test_stages_on_the_command_line_may_have_folders(tmp_path):
  (tmp_path / "x.py").write_text(SMALL)
  done = program(tmp_path, "--config", "x.py", "--config.stages=m,m2:m")
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "runs" / "x" / "m2" / "done.json").exists()


def test_another_config_in_a_begun_workdir_names_the_knobs(tmp_path, calls):
  run(tmp_path, config("learn"))
  with pytest.raises(ValueError, match="another --workdir") as error:
    run(tmp_path, config("learn", seed=1, optim={"lr": 2e-3}, new=3))
  assert "config.seed: 0 -> 1 would change what is in learn; remove" in str(error.value)
  assert "config.optim.lr: 0.001 -> 0.002 would" in str(error.value)
  assert "config.new: absent -> 3 would" in str(error.value)
  assert len(calls) == 1


def test_a_dry_run_names_refused_knobs_and_writes_nothing(tmp_path, calls, capsys):
  run(tmp_path, config("learn"))
  before = (tmp_path / "config.json").read_text()
  assert main.dry_run(config("learn", seed=1), epath.Path(tmp_path)) is False
  assert "config.seed: 0 -> 1 would change what is in learn" in capsys.readouterr().err
  assert main.dry_run(config("learn"), epath.Path(tmp_path)) is True
  assert (tmp_path / "config.json").read_text() == before


def test_a_workdir_without_a_begun_stage_accepts_another_config(tmp_path, calls):
  path = tmp_path / "config.json"
  path.write_text(json.dumps({"config": {"stages": ["learn"], "seed": 7}, "runs": []}))
  run(tmp_path, config("learn"))
  assert json.loads(path.read_text())["config"]["seed"] == 0


def test_config_and_command_line_are_recorded(tmp_path, calls):
  run(tmp_path, config("learn"))
  run(tmp_path, config("learn"))
  kept = json.loads((tmp_path / "config.json").read_text())
  assert kept["config"] == {
    "stages": ["learn"],
    "seed": 0,
    "compile_cache": "",
    "control": "",
    "dry_run": False,
    "optim": {"lr": 1e-3},
    "data": base.get_config().data.to_dict(),
  }
  assert len(kept["runs"]) == 2
  last = kept["runs"][-1]
  assert last["command"] == ["main", "--config", "x.py"]
  assert {"jax", "flax", "transformers"} <= last["versions"].keys()
  assert last["devices"].startswith("8 ")


def program(cwd, *flags):
  code = (
    "import sys, types; from cot_rm import main, stages; "
    "from cot_rm.stages import preflight; m = types.ModuleType('m'); "
    "m.run = lambda c, w, n: {'lr': c.optim.lr}; "
    "m.preflight = lambda c, w, n: preflight.Checks(n); sys.modules['m'] = m; "
    "stages.STAGES['m'] = 'm'; main.start()"
  )
  return programs.run(cwd, *flags, code=code)


def test_the_program_runs_from_flags_to_workdir(tmp_path):
  (tmp_path / "x.py").write_text(SMALL)
  done = program(tmp_path, "--config", "x.py", "--config.optim.lr=0.25")
  assert done.returncode == 0, done.stderr
  assert "m took 0 s: lr 0.250" in done.stderr
  kept = json.loads((tmp_path / "runs" / "x" / "config.json").read_text())
  assert kept["config"]["optim"]["lr"] == 0.25
  assert "--config.optim.lr=0.25" in kept["runs"][0]["command"]


@pytest.mark.parametrize("wanted, devices", [(0, 8), (3, 3)])
def test_the_number_of_cpu_devices_is_the_knob_or_the_environments(tmp_path, wanted, devices):
  (tmp_path / "x.py").write_text(SMALL)
  done = program(tmp_path, "--config", "x.py", f"--config.cpu_devices={wanted}")
  assert done.returncode == 0, done.stderr
  kept = json.loads((tmp_path / "runs" / "x" / "config.json").read_text())
  assert kept["runs"][0]["devices"].startswith(f"{devices} ")


def test_a_missing_config_is_an_error_with_an_example(tmp_path):
  done = program(tmp_path)
  assert done.returncode == 1
  said = "no config file is given; for example: --config configs/tiny.py"
  assert said in done.stdout + done.stderr
  assert "Traceback" not in done.stderr
