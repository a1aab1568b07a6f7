"""Shared by the stages: sections, paths, tasks, the model, answers kept on disk."""

import json

import pytest
from etils import epath
from ml_collections import ConfigDict

from configs import base
from cot_rm import knobs, schema, stages
from cot_rm.data import identity as data_identity
from cot_rm.stages import common


@pytest.mark.parametrize("stage", [knobs.SECTION_OF.get(stage, stage) for stage in stages.STAGES])
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


def test_a_path_behind_the_name_of_a_layout_is_resolved_too(tmp_path):
  (tmp_path / "raw").mkdir()
  assert common.resolve_data(tmp_path, "trl:raw") == f"trl:{tmp_path / 'raw'}"
  assert common.resolve_data(tmp_path, "trl:gone") == "trl:gone"
  assert common.resolve_data(tmp_path, "raw") == str(tmp_path / "raw")


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
  processor = config.processor.to_dict()
  processor["max_pixels"], processor["video"]["max_pixels"] = due, of_the_stage
  assert {name: knobs[name] for name in processor} == processor


PARTS = ["samples.jsonl", "data"]


def begun(folder, conditions, **kwargs):
  """Begins the folder, and says which of its parts are there."""
  common.begin_answers(folder, conditions, PARTS, **kwargs)
  return [part for part in PARTS if (folder / part).exists()]


@pytest.fixture
def answered(tmp_path):
  """A folder with answers of the model "a"."""
  folder = epath.Path(tmp_path / "reject")
  assert begun(folder, {"model": "a", "sampling": [1, {"temperature": 1.0}]}) == []
  (folder / "samples.jsonl").write_text("1")
  (folder / "data").mkdir()
  (folder / "calls").write_text("2")
  return folder


def test_answers_to_other_conditions_are_moved_aside_and_answers_to_the_same_stay(answered, caplog):
  same = {"model": "a", "sampling": [1, {"temperature": 1.0}]}
  assert begun(answered, same) == PARTS
  assert begun(answered, same | {"model": "b"}) == []
  assert (answered / "calls").exists()
  assert json.loads((answered / "asked.json").read_text())["model"] == "b"
  aside = answered / "earlier" / "1"
  assert (aside / "samples.jsonl").read_text() == "1" and (aside / "data").is_dir()
  assert json.loads((aside / "asked.json").read_text()) == same
  assert "model: a -> b" in caplog.text and "earlier/1" in caplog.text
  (answered / "samples.jsonl").write_text("3")
  assert begun(answered, same) == []
  assert (answered / "earlier" / "2" / "samples.jsonl").read_text() == "3"


@pytest.mark.parametrize(
  "conditions",
  [
    {"model": None},  # offline: the hub cannot be asked
    {"files": "written down since"},
    {"sampling": [1, {"temperature": 1.0, "min_p": 0.0}]},
  ],
)
def test_a_condition_that_is_unknown_or_new_changes_nothing(answered, conditions):
  old = json.loads((answered / "asked.json").read_text())
  assert begun(answered, old | conditions) == PARTS
  assert json.loads((answered / "asked.json").read_text())["model"] == "a"


@pytest.mark.parametrize(
  "conditions, parts",
  [
    ({"repetition_penalty": 1.0, "base": "", "weights": ""}, True),
    ({"repetition_penalty": 1.05}, False),
    ({"repetition_penalty": None}, False),  # as generation_config.json says
    ({"weights": "int8"}, True),
    ({"sampling": [1, {"temperature": 1.0, "repetition_penalty": 1.05}]}, False),
    ({"sampling": [1, {"temperature": 1.0, "repetition_penalty": 1.0}]}, True),
  ],
)
def test_what_older_answers_were_sampled_with_is_known(answered, conditions, parts):
  old = json.loads((answered / "asked.json").read_text())
  assert begun(answered, old | conditions) == (PARTS if parts else [])


def test_a_knob_that_becomes_none_is_another_condition(answered):
  old = json.loads((answered / "asked.json").read_text())
  assert begun(answered, old | {"repetition_penalty": 1.0}) == PARTS
  assert begun(answered, old | {"repetition_penalty": None}) == []


def test_a_model_that_an_older_version_knew_by_its_path_is_accepted_once(answered, caplog):
  assert begun(answered, {"model": "f00"}, legacy={"model": "a"}) == PARTS
  assert "taken for the model of today" in caplog.text
  assert begun(answered, {"model": "f01"}, legacy={"model": "a"}) == []


def test_answers_without_any_conditions_are_moved_aside_unless_the_stage_had_none(answered):
  (answered / "asked.json").unlink()
  assert begun(answered, {"model": "a"}, legacy={}) == PARTS
  (answered / "asked.json").unlink()
  assert begun(answered, {"model": "a"}) == []
  assert (answered / "earlier" / "1" / "samples.jsonl").exists()


@pytest.fixture
def continued(tmp_path):
  """`continued(known, changed)`: goes on with two pairs from a checkpoint that knows `known`."""

  def check(known, changed="stop"):
    config = base.get_config()
    config.data.changed = changed
    extra = {} if known is None else {"examples": known}
    found = data_identity.describe(PAIRS)
    common.check_continued(config, epath.Path(tmp_path / "sft"), extra, found, PAIRS)

  return check


PAIRS = [
  schema.Example(name, "", "image_understanding", "?", responses=("a", "b"), gold=1)
  for name in ("one", "two")
]


def test_a_checkpoint_goes_on_with_the_examples_that_it_was_trained_on(continued, caplog):
  continued(data_identity.describe(PAIRS))
  assert not caplog.records
  with pytest.raises(ValueError, match="2 now.*position.*config.data.changed='continue'"):
    continued(data_identity.describe(PAIRS[:1]))
  continued(data_identity.describe(PAIRS[:1]), "continue")
  assert "1 examples before, 2 now" in caplog.text
  continued(None)
  assert "of an older version does not say" in caplog.text
  with pytest.raises(ValueError, match="config.data.changed is 'contine'; did you mean 'continue'"):
    continued(None, "contine")


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


def test_the_bound_of_a_stage_holds_for_pictures_and_frames():
  config = base.get_config()
  config.processor.max_pixels = 900
  assert common.processor_knobs(config) == config.processor.to_dict()
  knobs = common.processor_knobs(config, 400)
  assert (knobs["max_pixels"], knobs["video"]["max_pixels"]) == (400, 400)
  config.processor.video.max_pixels = 300
  assert common.processor_knobs(config, 400)["video"]["max_pixels"] == 300
