"""A run's folder: what was run is recorded, and an older folder still opens."""

import json
import subprocess
from pathlib import Path

import pytest
from etils import epath

from configs import tiny, tiny_grpo
from cot_rm import begun, knobs, workdir

OLDER = Path(__file__).parent / "golden"  # config.json of runs of an older version


def test_an_entry_of_stages_may_hold_several_with_commas():
  assert workdir.entries(("sft,more:sft", "rl")) == {"sft": "sft", "more": "sft", "rl": "rl"}
  assert workdir.entries("sft, rl") == {"sft": "sft", "rl": "rl"}


@pytest.mark.parametrize("entry", [":sft", "../x:sft", "a/b:sft", ".:sft"])
def test_a_stage_writes_into_a_folder_of_the_workdir_and_nowhere_else(entry):
  with pytest.raises(ValueError, match="the name of a folder inside the workdir"):
    workdir.entries(("world", entry))


def test_the_commit_says_whether_files_differ_from_it(tmp_path, monkeypatch):
  monkeypatch.setattr(workdir, "ROOT", tmp_path)
  assert workdir.commit() is None
  git = lambda *words: subprocess.run(
    ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words],
    check=True,
    capture_output=True,
  )
  git("init")
  assert workdir.commit() is None  # no commit yet
  git("commit", "--allow-empty", "-m", "first")
  clean = workdir.commit()
  assert len(clean) == 40
  (tmp_path / "new.txt").write_text("x")
  assert workdir.commit() == clean + "+"


@pytest.mark.parametrize(
  "file, folder",
  [
    ("configs/tiny.py", "runs/tiny"),
    ("/a/b/rl.py:smoke", "runs/rl-smoke"),
    ("tiny.py:a/b,c", "runs/tiny-a-b-c"),
  ],
)
def test_the_default_is_named_after_the_config(file, folder):
  assert workdir.default(file) == folder


def resolved(config):
  return json.loads(config.to_json())


def older(name):
  return json.loads((OLDER / f"workdir_{name}.json").read_text())["config"]


def difference(old, new):
  """The changed knobs on which the output of a stage of these configs depends."""
  plan = begun.plan_of(old, new, workdir.entries, workdir.renamed_folders(old, new))
  found = [c for c in workdir.changed(old, new) if knobs.affected(c.knob, old, new, plan)]
  return [str(change) for change in found]


@pytest.mark.parametrize("name, config", [("tiny", tiny), ("tiny_grpo", tiny_grpo)])
def test_a_workdir_of_an_older_version_has_the_same_config_under_the_names_of_today(name, config):
  old, new = older(name), config.get_config("smoke")
  new.seed = 3
  new = resolved(new)
  assert difference(workdir.migrate(old, workdir.renamed_folders(old, new)), new) == []


def test_a_changed_knob_is_still_found_in_a_workdir_of_an_older_version():
  old, new = older("tiny"), tiny.get_config("smoke")
  new.seed = 3
  new.rl.optim.lr, new.rl.group = 0.5, 4
  new = resolved(new)
  changes = difference(workdir.migrate(old, workdir.renamed_folders(old, new)), new)
  assert changes == ["config.rl.group: 8 -> 4", "config.rl.optim.lr: 0.0002 -> 0.5"]


def test_a_knob_without_an_effect_may_change_and_an_older_run_keeps_its_rules():
  """Weight decay of norms, RLOO's mean and DAPO's resampling were others in older versions."""
  for changes, found in (
    ({}, []),
    ({"optim.weight_decay": 0.1}, ["config.rl.optim.decay_vectors: true -> false"]),
    ({"algorithm": "rloo"}, ['config.rl.settings.rloo.aggregate: "sequence" -> "sum"']),
    ({"sampling.temperature": 0.7}, ["config.rl.sampling.logps_temperature: 1.0 -> null"]),
    ({"zero_variance": "resample"}, ['config.rl.resample_by: "total" -> "accuracy"']),
  ):
    old, today = older("tiny"), tiny.get_config("smoke")
    today.seed = 3
    for knob, value in changes.items():
      *path, last = knob.split(".")
      section, former = today.rl, old["rl"]
      for name in path:
        section, former = section[name], former[name]
      section[last] = value
      former[{"zero_variance": "silent"}.get(last, last)] = value
    today = resolved(today)
    migrated = workdir.migrate(old, workdir.renamed_folders(old, today))
    assert difference(migrated, today) == found


@pytest.fixture
def tables(monkeypatch):
  """Small tables of renamed knobs and folders."""
  knobs = {"rl.questions": "rl.prompts", "rl.optim.old": "rl.optim.new", "sampler.dead": None}
  monkeypatch.setattr(workdir, "RENAMED_KNOBS", knobs)
  monkeypatch.setattr(workdir, "ADDED_KNOBS", {"rl.optim.muon": 0.0})
  monkeypatch.setattr(workdir, "RENAMED_FOLDERS", {"again": "rl2"})


OLD = {
  "stages": ["rl", "again:rl", "eval"],
  "sampler": {"dead": 1, "chunk": 2},
  "rl": {"questions": 3, "optim": {"old": 4}, "start": ""},
  "again": {"questions": 5, "optim": {"old": 6}, "start": "rl"},
  "eval": {"models": "rl,again,other/again", "data": "again/data"},
}
NEW = {
  "stages": ["rl", "rl2:rl", "eval"],
  "sampler": {"chunk": 2},
  "rl": {"prompts": 3, "optim": {"new": 4, "muon": 0.0}, "start": ""},
  "rl2": {"prompts": 5, "optim": {"new": 6, "muon": 0.0}, "start": "rl"},
  "eval": {"models": "rl,rl2,other/again", "data": "rl2/data"},
}


def test_a_row_of_a_section_holds_for_its_copies_and_folders_are_renamed_in_values(tables):
  folders = workdir.renamed_folders(OLD, NEW)
  assert folders == {"again": "rl2"}
  migrated = workdir.migrate(OLD, folders)
  assert migrated | {"stages": NEW["stages"]} == NEW
  assert OLD["rl"]["questions"] == 3


def test_a_config_that_keeps_an_older_folder_name_keeps_it(tables):
  own = NEW | {"stages": OLD["stages"], "again": NEW["rl2"]}
  del own["rl2"]
  assert workdir.renamed_folders(OLD, own) == {}


def test_the_folders_of_an_older_version_are_found_again_under_their_names_of_today(
  tmp_path, tables
):
  folder = epath.Path(tmp_path)
  for made in ("rl/model", "again/model", "eval/again"):
    (folder / made).mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps({"config": OLD, "runs": [{}]}))
  workdir.record(folder, NEW, ["main"])
  assert (folder / "rl2" / "model").exists() and (folder / "eval" / "rl2").exists()
  assert not (folder / "again").exists() and not (folder / "eval" / "again").exists()
  kept = json.loads((folder / "config.json").read_text())
  assert kept["config"] == NEW and len(kept["runs"]) == 2


def test_no_folder_is_moved_where_the_config_is_another(tmp_path, tables):
  folder = epath.Path(tmp_path)
  (folder / "again" / "model").mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps({"config": OLD, "runs": []}))
  other = NEW | {"rl2": NEW["rl2"] | {"prompts": 9}}
  with pytest.raises(ValueError, match=r"config.rl2.prompts: 5 -> 9 .*; remove .*/again"):
    workdir.record(folder, other, ["main"])
  assert (folder / "again").exists()
