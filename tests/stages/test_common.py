"""Shared by the stages: sections, paths, tasks, the model, answers kept on disk."""

import json

import pytest
from etils import epath
from ml_collections import ConfigDict

from configs import base
from cot_rm import stages
from cot_rm.stages import common


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_stage_that_runs_again_has_a_section_of_its_folder_or_shares_that_of_the_stage(stage):
  config = base.get_config()
  assert common.section_name(config, f"{stage}2", stage) == stage
  assert common.section(config, f"{stage}2", stage) is config[stage]
  assert common.section_name(config, "seed", stage) == stage
  config[f"{stage}2"] = ConfigDict({"start": "x"})
  assert common.section(config, f"{stage}2", stage).start == "x"


def test_a_path_is_resolved_in_the_workdir_first(tmp_path):
  (tmp_path / "world" / "data").mkdir(parents=True)
  assert common.resolve_path(tmp_path, "world/data") == str(tmp_path / "world" / "data")
  assert common.resolve_path(tmp_path, "org/name") == "org/name"


def test_the_name_of_a_stage_resolves_to_its_model(tmp_path):
  (tmp_path / "sft" / "model").mkdir(parents=True)
  assert common.resolve_path(tmp_path, "sft") == str(tmp_path / "sft" / "model")


def test_an_empty_path_is_an_error_that_names_the_knobs(tmp_path):
  with pytest.raises(ValueError, match="`start`"):
    common.resolve_path(tmp_path, "")


def test_tasks_are_separated_by_commas_and_an_unknown_task_is_an_error():
  assert common.parse_tasks("") == []
  assert common.parse_tasks("image_generation,video_generation") == [
    "image_generation",
    "video_generation",
  ]
  with pytest.raises(ValueError, match="`tasks` names image_understandin; known: image_underst"):
    common.parse_tasks("image_generation,image_understandin")


@pytest.mark.parametrize("of_the_stage, due", [(None, 500), (300, 300)])
def test_a_stage_may_have_a_max_pixels_of_its_own(tmp_path, monkeypatch, of_the_stage, due):
  monkeypatch.setattr(common.cot_rm.judge, "load", lambda start, **knobs: knobs)
  config = base.get_config()
  config.processor.max_pixels = 500
  knobs = common.load_judge(config, tmp_path, "model", max_prompts=1, max_pixels=of_the_stage)
  processor = config.processor.to_dict() | {"max_pixels": due}
  assert {name: knobs[name] for name in processor} == processor


def test_answers_to_other_conditions_are_removed_and_answers_to_the_same_are_kept(tmp_path):
  folder = epath.Path(tmp_path / "reject")
  common.begin_answers(folder, {"model": "a"}, ["samples.jsonl", "data"])
  (folder / "samples.jsonl").write_text("1")
  (folder / "data").mkdir()
  (folder / "calls").write_text("2")
  common.begin_answers(folder, {"model": "a"}, ["samples.jsonl", "data"])
  assert (folder / "samples.jsonl").exists() and (folder / "data").exists()
  common.begin_answers(folder, {"model": "b"}, ["samples.jsonl", "data"])
  assert not (folder / "samples.jsonl").exists() and not (folder / "data").exists()
  assert (folder / "calls").exists()
  assert json.loads((folder / "asked.json").read_text()) == {"model": "b"}


@pytest.mark.parametrize("stage", ["sft", "rl", "reject", "judge"])
def test_a_stage_runs_in_a_folder_without_a_section_of_its_own(workdir, config, monkeypatch, stage):
  def load(*_, **__):
    raise RuntimeError("its model is loaded")

  monkeypatch.setattr(common, "load_judge", load)
  config.judge.input = str(workdir / "pairs.jsonl")
  pair = dict(id="a", task="image_understanding", question="?", images=[], responses=["b", "c"])
  (workdir / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
  with pytest.raises(RuntimeError, match="its model is loaded"):
    stages.get(stage).run(config, workdir, f"{stage}2")
