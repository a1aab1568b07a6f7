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


def test_a_stage_is_found_in_the_run_before_anywhere_else(tmp_path):
  (tmp_path / "world" / "data").mkdir(parents=True)
  assert common.resolve_path(tmp_path, "world/data") == str(tmp_path / "world" / "data")
  assert common.resolve_path(tmp_path, "org/name") == "org/name"


def test_a_stage_that_left_a_model_stands_for_it(tmp_path):
  (tmp_path / "sft" / "model").mkdir(parents=True)
  assert common.resolve_path(tmp_path, "sft") == str(tmp_path / "sft" / "model")


def test_a_stage_that_was_told_nothing_says_so(tmp_path):
  with pytest.raises(ValueError, match="`start`"):
    common.resolve_path(tmp_path, "")


def test_tasks_are_named_with_commas_and_an_unknown_one_is_loud():
  assert common.parse_tasks("") == []
  assert common.parse_tasks("image_generation,video_generation") == [
    "image_generation",
    "video_generation",
  ]
  with pytest.raises(ValueError, match="`tasks` names image_understandin; known: image_underst"):
    common.parse_tasks("image_generation,image_understandin")


@pytest.mark.parametrize("of_the_stage, due", [(None, 500), (300, 300)])
def test_a_stage_may_bound_its_pictures_by_itself(tmp_path, monkeypatch, of_the_stage, due):
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
