"""Answers whose keys and values cannot fit are a fault before a model is loaded."""

import pytest

from cot_rm import host
from cot_rm.stages import preflight

MODELS = {"rl": "rl.sampling", "reject": "reject.sampling", "eval": "eval", "judge": "judge"}


@pytest.fixture
def look(config, workdir):
  """`look(stage)`: the faults of a stage that starts from the tiny model."""
  config.stages = ("sft", "rl", "reject", "eval", "judge")
  config.eval.models = config.reject.start = config.judge.start = config.rl.start = "sft"
  config.judge.input = str(workdir / "world" / "data")
  config.judge.split = "heldout"
  return lambda name: preflight.of_stage(config, workdir, name, name).faults


@pytest.mark.parametrize("stage", MODELS)
def test_answers_longer_than_memory_are_a_fault_of_each_stage_that_samples(look, config, stage):
  config.buckets.answers = (10**9,)
  assert look(stage) == []
  config.update_from_flattened_dict({f"{MODELS[stage]}.max_tokens": 10**9})
  (fault,) = look(stage)
  assert fault.startswith(f"config.{MODELS[stage]}.max_tokens is 1,000,000,000: the keys")
  assert "this machine has" in fault and f"config.{stage}.max_prompts" in fault


def test_the_validation_of_a_training_stage_is_looked_at_too(look, config):
  config.eval.max_tokens = 10**9
  for stage in ("sft", "rl"):
    (fault,) = look(stage)
    assert fault.startswith("config.eval.max_tokens is 1,000,000,000")


def test_the_policy_as_a_judge_is_looked_at_too(look, config):
  config.rl.judge.by, config.rl.judge.sampling.max_tokens = "policy", 10**9
  (fault,) = look("rl")
  assert fault.startswith("config.rl.judge.sampling.max_tokens is 1,000,000,000")


def test_the_bytes_are_those_of_the_model_its_precision_and_the_bound_of_the_config(look, config):
  # The tiny model has 3 layers of 2 heads of 24 numbers each in keys and in values, of 4 bytes.
  position = 4 * 2 * 3 * 2 * 24
  config.sampler.update(decode_chunk=4, extra_prompts=0.0)
  config.judge.max_prompts = 4
  # A prompt of 128 tokens, and once more in its prefill; of an answer of 8 tokens one chunk of 4 is
  # kept, and one is in work.
  needed = position * (128 + 128 + 4 + 4)
  config.sampler.kv_memory = needed
  assert look("judge") == []
  config.sampler.kv_memory = needed - 1
  (fault,) = look("judge")
  assert "config.sampler.kv_memory is" in fault and preflight.size(needed) in fault
  config.model.compute_dtype = "bfloat16"
  assert look("judge") == []


def test_too_many_answers_to_a_prompt_are_named(look, config):
  config.rl.group = 10**9
  (fault,) = look("rl")
  assert "each with 1,000,000,000 answers" in fault and "config.rl.group" in fault


def test_memory_is_that_of_the_machine_or_less():
  total = [int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal")]
  assert 0 < host.memory() <= total[0] * 1024
