"""The models that eval scores, and how their verdicts are read."""

import pytest

from cot_rm import prompts, schema
from cot_rm.data import datasets
from cot_rm.stages import common, preflight_data, scored_models
from cot_rm.stages import eval as eval_stage


def longest(config, workdir, folder):
  """Tokens of the longest prompt of the pairs, in either order."""
  processor = preflight_data.open_processor(
    folder, common.processor_knobs(config), common.media_options(config)
  )
  render = prompts.get(config.grammar).render
  pairs = list(datasets.open(workdir / "world" / "data", config.eval.split))[: config.eval.pairs]
  both = [*pairs, *(pair.swapped() for pair in pairs)]
  return max(processor.measure(render(pair), id=pair.id).tokens for pair in both)


def test_a_model_that_no_stage_trained_is_left_out_and_an_unknown_name_is_refused(workdir, config):
  assert scored_models.there(config, workdir, "eval") == ["sft"]  # of sft and rl
  config.eval.models = "sft,rll"
  with pytest.raises(ValueError, match="config.eval.models.*'rll'.*did you mean 'rl'"):
    scored_models.there(config, workdir, "eval")


def test_an_evaluation_of_no_model_at_all_is_refused(workdir, config):
  config.eval.models, config.stages = "rl,control_sft", ("eval",)
  (fault,) = eval_stage.preflight(config, workdir, "eval").faults
  assert "config.eval.models is 'rl,control_sft'" in fault and "no such model to score" in fault
  with pytest.raises(ValueError, match="no such model to score"):
    eval_stage.run(config, workdir, "eval")
  config.stages = ("rl", "eval")  # which trains one before
  assert not eval_stage.preflight(config, workdir, "eval").faults


def test_an_unknown_way_to_read_is_refused_before_a_run_by_its_knob(workdir, config):
  config.eval.read = "text, direct"
  assert scored_models.reads(config.eval, "eval") == ("text", "direct")
  config.eval.read = "drect"
  faults = eval_stage.preflight(config, workdir, "eval").faults
  assert any("config.eval.read" in f and "'drect'" in f and "direct" in f for f in faults), faults


def test_a_prompt_that_fits_only_without_the_opening_of_its_answer_is_a_fault(workdir, config):
  config.eval.read = "direct"
  assert not eval_stage.preflight(config, workdir, "eval").faults
  openings = scored_models.openings(config, str(workdir / "sft" / "model"))
  assert set(openings) == set(schema.TASKS) and min(openings.values()) > 0
  config.buckets.tokens = (longest(config, workdir, str(workdir / "sft" / "model")),)
  config.eval.read = "text"
  assert not eval_stage.preflight(config, workdir, "eval").faults
  config.eval.read = "direct"
  faults = eval_stage.preflight(config, workdir, "eval").faults
  assert any("the largest bucket" in fault for fault in faults), faults
