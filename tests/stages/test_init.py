"""The table of stages, and how a stage finds what an earlier one left."""

import pytest

from configs import base
from cot_rm import stages


def test_an_unknown_stage_fails_with_a_suggestion():
  with pytest.raises(ValueError, match="unknown stage 'evl'; did you mean 'eval'"):
    stages.get("evl")


@pytest.mark.parametrize("name", stages.STAGES)
def test_every_stage_has_a_run(name):
  assert callable(stages.get(name).run)


def test_a_stage_is_found_in_the_run_before_anywhere_else(tmp_path):
  (tmp_path / "world" / "data").mkdir(parents=True)
  assert stages.find(tmp_path, "world/data") == str(tmp_path / "world" / "data")
  assert stages.find(tmp_path, "org/name") == "org/name"


def test_a_stage_that_left_a_model_stands_for_it(tmp_path):
  (tmp_path / "sft" / "model").mkdir(parents=True)
  assert stages.find(tmp_path, "sft") == str(tmp_path / "sft" / "model")


def test_a_stage_that_was_told_nothing_says_so(tmp_path):
  with pytest.raises(ValueError, match="`start`"):
    stages.find(tmp_path, "")


def test_tasks_are_named_with_commas_and_an_unknown_one_is_loud():
  assert stages.tasks("") == []
  assert stages.tasks("image_generation,video_generation") == [
    "image_generation",
    "video_generation",
  ]
  with pytest.raises(ValueError, match="`tasks` names image_understandin; known: image_underst"):
    stages.tasks("image_generation,image_understandin")


@pytest.mark.parametrize("of_the_stage, due", [(None, 500), (300, 300)])
def test_a_stage_may_bound_its_pictures_by_itself(tmp_path, monkeypatch, of_the_stage, due):
  monkeypatch.setattr(stages.cot_rm.judge, "load", lambda start, **knobs: knobs["processor"])
  config = base.get_config()
  config.processor.max_pixels = 500
  processor = stages.load(config, tmp_path, "model", rows=1, max_pixels=of_the_stage)
  assert processor == config.processor.to_dict() | {"max_pixels": due}
